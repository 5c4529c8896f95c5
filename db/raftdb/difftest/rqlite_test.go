package difftest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rqlite/rqlite/v8/cluster/proto"
	command "github.com/rqlite/rqlite/v8/command/proto"
	pb "google.golang.org/protobuf/proto"

	"github.com/raft-control-plane/control-plane/internal/testport"
)

// rqlite is one rqlited, spoken to as its other nodes would: in the protocol of its
// cluster, where parameters and results have types that its HTTP API in JSON has not.
type rqlite struct {
	t    *testing.T
	conn net.Conn
}

// clusterHeader is the first byte of a connection, which says what it is for.
const clusterHeader = 2

// startRqlite starts an empty rqlited, and skips the test where none can be built.
func startRqlite(t *testing.T) *rqlite {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: no rqlited is built and started")
	}
	binary := buildRqlited(t)
	web, cluster := testport.Address(t), testport.Address(t)
	log, err := os.Create(filepath.Join(t.TempDir(), "rqlited.log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "-node-id", "1", "-http-addr", web, "-raft-addr", cluster, filepath.Join(t.TempDir(), "data"))
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		_ = log.Close()
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("the end of rqlited's log:\n%s", text[max(0, len(text)-2000):])
		}
	})
	awaitReady(t, "http://"+web+"/readyz", ended)
	conn, err := net.Dial("tcp", cluster)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := conn.Write([]byte{clusterHeader}); err != nil {
		t.Fatal(err)
	}
	return &rqlite{t: t, conn: conn}
}

// buildRqlited returns the binary, which Go keeps in its cache.
func buildRqlited(t *testing.T) string {
	t.Helper()
	cc := "gcc"
	if out, err := exec.Command("go", "env", "CC").Output(); err == nil {
		cc = strings.TrimSpace(string(out))
	}
	if _, err := exec.LookPath(strings.Fields(cc + " ")[0]); err != nil {
		t.Skipf("rqlited is not built, as there is no C compiler: %v ('make deps/rqlited' installs one where it can)", err)
	}
	cmd := exec.Command("go", "tool", "-modfile=tools/rqlite/go.mod", "-n", "rqlited")
	cmd.Dir = filepath.Join("..", "..", "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("build rqlited: %v\n%s", err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

// awaitReady polls another process, which nothing here can wait on.
func awaitReady(t *testing.T, url string, ended <-chan struct{}) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		if res, err := http.Get(url); err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-ended:
			t.Fatal("rqlited ended")
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("rqlited is not ready in %s", patience)
		}
	}
}

// execute runs statements, as one transaction or each on its own, and returns a
// result for each up to the one that ended the transaction.
func (r *rqlite) execute(transaction bool, statements ...*command.Statement) []*command.ExecuteQueryResponse {
	r.t.Helper()
	var res proto.CommandExecuteResponse
	r.call(&proto.Command{Type: proto.Command_COMMAND_TYPE_EXECUTE, Request: &proto.Command_ExecuteRequest{ExecuteRequest: &command.ExecuteRequest{
		Request: &command.Request{Transaction: transaction, Statements: statements}}}}, &res)
	if res.Error != "" {
		r.t.Fatalf("rqlite refuses %d statements: %s", len(statements), res.Error)
	}
	return res.Response
}

// query returns the rows of a statement that reads.
func (r *rqlite) query(s *command.Statement) (rows [][]*command.Parameter, err error) {
	r.t.Helper()
	var res proto.CommandQueryResponse
	r.call(&proto.Command{Type: proto.Command_COMMAND_TYPE_QUERY, Request: &proto.Command_QueryRequest{QueryRequest: &command.QueryRequest{
		Level: command.QueryRequest_QUERY_REQUEST_LEVEL_WEAK, Request: &command.Request{Statements: []*command.Statement{s}}}}}, &res)
	if res.Error != "" || len(res.Rows) != 1 {
		r.t.Fatalf("rqlite refuses a query: %s, %d results", res.Error, len(res.Rows))
	}
	if text := res.Rows[0].Error; text != "" {
		return nil, errors.New(text)
	}
	for _, v := range res.Rows[0].Values {
		rows = append(rows, v.Parameters)
	}
	return rows, nil
}

// call sends a command and reads the answer: each is its length in eight bytes and a
// message.
func (r *rqlite) call(c *proto.Command, answer pb.Message) {
	r.t.Helper()
	if err := r.tryCall(c, answer); err != nil {
		r.t.Fatalf("rqlited gives no answer: %v\n%.4000s", err, c)
	}
}

func (r *rqlite) tryCall(c *proto.Command, answer pb.Message) error {
	body, err := pb.Marshal(c)
	if err != nil {
		return err
	}
	if err := r.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := r.conn.Write(append(binary.LittleEndian.AppendUint64(nil, uint64(len(body))), body...)); err != nil {
		return err
	}
	var size [8]byte
	if _, err := io.ReadFull(r.conn, size[:]); err != nil {
		return fmt.Errorf("read the length: %w", err)
	}
	body = make([]byte, binary.LittleEndian.Uint64(size[:]))
	if _, err := io.ReadFull(r.conn, body); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return pb.Unmarshal(body, answer)
}
