package raftdb

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Members speak to each other at the API's port, under /raft:
//
//	GET  /raft             with Upgrade: raft becomes a stream of Raft's own protocol
//	GET  /raft/member      who the member is
//	POST /raft/term        the term that it is in
//	POST /raft/read-index  the leader's confirmed applied index
//	POST /raft/join        asks the leader to take a member in
//	GET  /raft/hash        what the content hashes to at the index of a verification
const (
	headerCluster = "Raft-Cluster-Id"
	headerTo      = "Raft-To"
	headerFrom    = "Raft-From"
	headerRemoved = "Raft-Removed" // on the refusal of a member that was removed
	scheme        = "Bearer "
	// maxAnswerBytes bounds what a member reads of another's answer.
	maxAnswerBytes = 1 << 20
)

// memberInfo is what a member says of itself.
type memberInfo struct {
	Name         string `json:"name"`
	ID           string `json:"id"`
	Address      string `json:"address"`
	ClusterID    string `json:"cluster_id"`
	Formed       bool   `json:"formed"` // it is part of a cluster
	Expect       int    `json:"expect"`
	Term         uint64 `json:"term"`
	AppliedIndex uint64 `json:"applied_index"`
	Version      string `json:"version"`
	Leader       string `json:"leader"` // address, if known
	Schema       int    `json:"schema"` // the newest migration that it knows; 0 if it does not say
	SQLite       string `json:"sqlite"` // version
	DiskLow      bool   `json:"disk_low"`
}

type termAnswer struct {
	ID   string `json:"id"`
	Term uint64 `json:"term"`
}

type indexAnswer struct {
	Index uint64 `json:"index"`
}

type joinRequest struct {
	ID           string `json:"id"`
	Address      string `json:"address"`
	AppliedIndex uint64 `json:"applied_index"`
}

type joinAnswer struct {
	// Voter: the member is one, at this address. Otherwise ask again soon.
	Voter bool `json:"voter"`
	// Leader is the address to ask instead, if it is another member's.
	Leader string `json:"leader,omitempty"`
}

type errorAnswer struct {
	Error string `json:"error"`
}

// errOtherCluster is the refusal of a member of another cluster.
var errOtherCluster = errors.New("another cluster")

// peers calls other members.
type peers struct {
	e      *Engine
	client *http.Client
}

func newPeers(e *Engine) *peers {
	t := &http.Transport{
		TLSClientConfig: e.cfg.TLS, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute,
		TLSHandshakeTimeout: 5 * time.Second, DisableCompression: true, Protocols: new(http.Protocols),
	}
	t.Protocols.SetHTTP1(true)
	return &peers{e: e, client: &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

func (p *peers) close() { p.client.CloseIdleConnections() }

func (p *peers) url(address, path string) string {
	if p.e.cfg.TLS != nil {
		return "https://" + address + path
	}
	return "http://" + address + path
}

// sign adds what shows another member that we are one.
func (e *Engine) sign(h http.Header) {
	h.Set(headerFrom, string(e.self.serverID()))
	if e.cfg.Token != "" {
		h.Set("Authorization", scheme+e.cfg.Token)
	}
	if id := e.fsm.cluster(); id != "" {
		h.Set(headerCluster, id)
	}
}

// call sends a request with a JSON body, if there is one, and reads the answer.
func (p *peers) call(ctx context.Context, address, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, p.url(address, path), body)
	if err != nil {
		return err
	}
	p.e.sign(req.Header)
	resp, err := p.client.Do(req)
	if _, alien := errors.AsType[tls.RecordHeaderError](err); alien || errors.Is(err, http.ErrSchemeMismatch) {
		return fmt.Errorf("%s: it serves no TLS, and this member does: start all members with --tls-cert and --tls-key, or none", address)
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
	if err != nil {
		return err
	}
	if resp.StatusCode == http.StatusConflict && resp.Header.Get(headerCluster) != "" {
		return fmt.Errorf("%s: %w: %s", address, errOtherCluster, refusal(resp.StatusCode, text))
	}
	p.e.hearRefusal(resp, text)
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", address, refusal(resp.StatusCode, text))
	}
	return json.Unmarshal(text, out)
}

// refusal is the reason in an answer that is no success.
func refusal(status int, text []byte) string {
	var a errorAnswer
	if json.Unmarshal(text, &a) == nil && a.Error != "" {
		return a.Error
	}
	if status == http.StatusBadRequest && strings.HasPrefix(string(text), "Client sent an HTTP request to an HTTPS server") { // net/http's words
		return "it serves TLS, and this member does not: give it --tls-cert, --tls-key and --tls-ca as the others have"
	}
	return fmt.Sprintf("HTTP %d: is it a member of this release?", status)
}

// info asks a member who it is, for at most a second.
func (p *peers) info(ctx context.Context, address string) (memberInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var m memberInfo
	err := p.call(ctx, address, http.MethodGet, "/raft/member", nil, &m)
	return m, err
}
