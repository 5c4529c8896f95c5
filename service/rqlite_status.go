package service

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/raft-control-plane/control-plane"
	"github.com/raft-control-plane/control-plane/db"
)

// rqliteNode is a member as rqlite describes it.
type rqliteNode struct {
	ID        string `json:"id"`
	APIAddr   string `json:"api_addr,omitempty"`
	Addr      string `json:"addr"`
	Version   string `json:"version"`
	Voter     bool   `json:"voter"`
	Reachable bool   `json:"reachable"`
	Leader    bool   `json:"leader"`
	Error     string `json:"error,omitempty"`
}

func (s *server) rqliteNode(m *controlplane.Member) rqliteNode {
	n := rqliteNode{ID: m.Name, Addr: m.Address, Version: m.Version, Voter: m.Role != controlplane.MemberNonVoter,
		Leader: m.Role == controlplane.MemberLeader, Reachable: m.AppliedIndex > 0}
	if !n.Reachable {
		n.Error = "it did not answer this member"
		return n
	}
	scheme := "http://"
	if s.PeerTLS != nil {
		scheme = "https://"
	}
	n.APIAddr = scheme + m.Address // one port for all
	return n
}

// rqliteNodes answers /nodes.
func (s *server) rqliteNodes(w http.ResponseWriter, r *http.Request) {
	c, ok := s.rqliteCluster(w, r)
	if !ok {
		return
	}
	byID, list := map[string]rqliteNode{}, []rqliteNode{}
	for i := range c.Members {
		if n := s.rqliteNode(&c.Members[i]); n.Voter || r.URL.Query().Has("nonvoters") {
			byID[n.ID] = n
			list = append(list, n)
		}
	}
	if r.URL.Query().Get("ver") == "2" {
		s.tellRqlite(w, r, map[string]any{"nodes": list})
		return
	}
	s.tellRqlite(w, r, byID)
}

// rqliteLeader answers /leader.
func (s *server) rqliteLeader(w http.ResponseWriter, r *http.Request) {
	c, ok := s.rqliteCluster(w, r)
	if !ok {
		return
	}
	for i := range c.Members {
		if n := s.rqliteNode(&c.Members[i]); n.Leader {
			s.tellRqlite(w, r, n)
			return
		}
	}
	http.Error(w, "leader not found", http.StatusServiceUnavailable)
}

// rqliteStatus answers /status, or what the parameter key names of it.
func (s *server) rqliteStatus(w http.ResponseWriter, r *http.Request) {
	c, ok := s.rqliteCluster(w, r)
	if !ok {
		return
	}
	hostname, _ := os.Hostname() // "" where there is none
	status := map[string]any{
		"build": map[string]any{"version": s.Version, "compiler": runtime.Compiler},
		"http":  map[string]any{"auth": enabled(s.Token != ""), "tls": map[string]any{"enabled": enabled(r.TLS != nil)}},
		"node":  map[string]any{"start_time": s.started, "current_time": time.Now(), "uptime": time.Since(s.started).String()},
		"os":    map[string]any{"hostname": hostname, "pid": os.Getpid(), "page_size": os.Getpagesize()},
		"runtime": map[string]any{"GOARCH": runtime.GOARCH, "GOOS": runtime.GOOS, "GOMAXPROCS": runtime.GOMAXPROCS(0), "num_cpu": runtime.NumCPU(),
			"num_goroutine": runtime.NumGoroutine(), "version": runtime.Version()},
		"store": s.rqliteStore(r.Context(), c),
	}
	s.tellRqlite(w, r, subKey(status, r.URL.Query().Get("key")))
}

func enabled(b bool) string {
	if b {
		return "enabled"
	}
	return "disabled"
}

func (s *server) rqliteStore(ctx context.Context, c controlplane.Cluster) map[string]any {
	self, state, leader := controlplane.Member{}, "Follower", map[string]string{"node_id": "", "addr": ""}
	nodes := make([]map[string]string, len(c.Members))
	for i, m := range c.Members {
		suffrage := "Voter"
		if m.Role == controlplane.MemberNonVoter {
			suffrage = "Nonvoter"
		}
		nodes[i] = map[string]string{"id": m.Name, "addr": m.Address, "suffrage": suffrage}
		if m.Role == controlplane.MemberLeader {
			leader = map[string]string{"node_id": m.Name, "addr": m.Address}
		}
		if m.Name == c.Self {
			self = m
		}
	}
	if self.Role == controlplane.MemberLeader {
		state = "Leader"
	}
	store := map[string]any{
		"open": true, "ready": s.health.readiness() == nil, "node_id": c.Self, "addr": self.Address, "leader": leader, "nodes": nodes,
		"db_applied_index": c.AppliedIndex, "fsm_index": c.AppliedIndex,
		"raft": map[string]any{"state": state, "term": c.Term, "applied_index": c.AppliedIndex, "num_peers": max(len(c.Members)-1, 0),
			"voter": self.Role != controlplane.MemberNonVoter},
	}
	res, err := s.Tasks.Query(ctx, "SELECT sqlite_version()", nil, db.QueryLimits{Rows: 1, Bytes: 1000}, db.ReadOptions{Level: db.Stale, MaxTime: queryTimeLimit})
	if err == nil {
		store["sqlite3"] = map[string]any{"version": res.Rows.GetValues()[0].GetParameters()[0].GetS()}
	}
	return store
}

// subKey takes a part out of nested objects: "store.leader"; {} if there is none.
func subKey(v any, key string) any {
	if key == "" {
		return v
	}
	var tree any
	text, _ := json.Marshal(v) // of maps and plain values
	_ = json.Unmarshal(text, &tree)
	for name := range strings.SplitSeq(key, ".") {
		object, ok := tree.(map[string]any)
		if !ok {
			break
		}
		if tree, ok = object[name]; !ok {
			return map[string]any{}
		}
	}
	return tree
}

// rqliteCluster returns the cluster as this member sees it; ok is false if the
// request is answered.
func (s *server) rqliteCluster(w http.ResponseWriter, r *http.Request) (c controlplane.Cluster, ok bool) {
	if !allowMethod(w, r, http.MethodGet) {
		return c, false
	}
	c, err := s.engine.Cluster(r.Context())
	if err != nil {
		s.rqliteFailed(w, s.connectError(r.URL.Path, err))
	}
	return c, err == nil
}

func (s *server) tellRqlite(w http.ResponseWriter, r *http.Request, v any) {
	if err := writeRqlite(w, r.URL.Query().Has("pretty"), v); err != nil {
		s.rqliteFailed(w, s.connectError(r.URL.Path, err))
	}
}
