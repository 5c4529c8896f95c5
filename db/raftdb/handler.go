package raftdb

import (
	"crypto/subtle"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"

	"zombiezen.com/go/sqlite"
)

// Handler serves what members ask of each other. Mount it at /raft and /raft/. It
// checks the token and the cluster by itself.
func (e *Engine) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /raft", e.streams.serve)
	mux.HandleFunc("GET /raft/member", func(w http.ResponseWriter, _ *http.Request) { answer(w, e.info()) })
	mux.HandleFunc("POST /raft/term", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, termAnswer{ID: string(e.self.serverID()), Term: e.raft.CurrentTerm()})
	})
	mux.HandleFunc("POST /raft/read-index", e.serveReadIndex)
	mux.HandleFunc("POST /raft/join", e.serveJoin)
	mux.HandleFunc("GET /raft/hash", e.serveHash)
	return e.onlyMembers(mux)
}

// onlyMembers refuses strangers, members of other clusters and those that were
// removed.
func (e *Engine) onlyMembers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if e.cfg.Token != "" {
			given, ok := strings.CutPrefix(r.Header.Get("Authorization"), scheme)
			if !ok || subtle.ConstantTimeCompare([]byte(given), []byte(e.cfg.Token)) != 1 {
				refuse(w, http.StatusUnauthorized, "the token is missing or another one: members share one --token-file")
				return
			}
		}
		theirs, ours := r.Header.Get(headerCluster), e.fsm.cluster()
		if theirs != "" && ours != "" && theirs != ours {
			w.Header().Set(headerCluster, ours)
			refuse(w, http.StatusConflict, "this member is of cluster "+ours+", the caller of "+theirs+": one of the two has another cluster's data directory or address")
			return
		}
		if why := e.removedFrom(r); why != "" {
			w.Header().Set(headerRemoved, "1")
			refuse(w, http.StatusGone, why)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
		next.ServeHTTP(w, r)
	})
}

func (e *Engine) info() memberInfo {
	address, _, _ := e.Leader()
	return memberInfo{
		Name: e.self.Name, ID: string(e.self.serverID()), Address: e.cfg.Advertise, ClusterID: e.fsm.cluster(),
		Formed: len(e.servers()) > 0, Expect: e.cfg.BootstrapExpect, Term: e.raft.CurrentTerm(),
		AppliedIndex: e.AppliedIndex(), Version: e.cfg.Version, Leader: address,
		Schema: e.cfg.SchemaVersion, SQLite: sqlite.Version, DiskLow: e.disk.isLow(),
	}
}

func (e *Engine) serveReadIndex(w http.ResponseWriter, r *http.Request) {
	index, err := e.confirm.do(r.Context())
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	answer(w, indexAnswer{Index: index})
}

func (e *Engine) serveHash(w http.ResponseWriter, r *http.Request) {
	index, err := strconv.ParseUint(r.URL.Query().Get("index"), 10, 64)
	if err != nil {
		refuse(w, http.StatusBadRequest, "index: give the log index of a verification")
		return
	}
	tables, err := e.fsm.hashes.await(r.Context(), index)
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	answer(w, tables)
}

func (e *Engine) serveJoin(w http.ResponseWriter, r *http.Request) {
	var req joinRequest
	text, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(text, &req)
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, "a join that cannot be read: "+err.Error())
		return
	}
	a, err := e.admit(r.Context(), req)
	if err != nil {
		refuse(w, http.StatusConflict, err.Error())
		return
	}
	answer(w, a)
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the caller is gone if it fails
}

func refuse(w http.ResponseWriter, status int, reason string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(errorAnswer{Error: reason})
}
