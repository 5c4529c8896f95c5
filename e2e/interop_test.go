package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/raft-control-plane/control-plane/client"
	v1 "github.com/raft-control-plane/control-plane/gen/go/controlplane/v1"
)

// interopCall is a function that every worker has, and what goes in and out of it.
type interopCall struct {
	function        string
	payload, result []byte
}

var interopCalls = []interopCall{
	{"describe", []byte(`{"name":"Grüße, 世界 😀","rates":[0.5,0.25]}`), []byte(`{"text":"Grüße, 世界 😀!","total":0.75}`)},
	{"reverse", []byte("\x00\xff\n\x80a"), []byte("a\x80\n\xff\x00")},
}

type interopGreeting struct {
	Name  string    `json:"name"`
	Rates []float64 `json:"rates"`
}

type interopDescribed struct {
	Text  string  `json:"text"`
	Total float64 `json:"total"`
}

// TestFunctionsInEveryLanguage calls the same functions of a worker in Go and of one in
// Python by everything that can submit: what is stored, what workers are given and what
// they return is the same to the byte.
func TestFunctionsInEveryLanguage(t *testing.T) {
	c := newCluster(t, 3)
	_, followers := c.leader()
	address := c.addresses[followers[0]]
	sdk, err := client.New([]string{"http://" + address})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sdk.Close)
	given := interopGoWorker(t, sdk)
	interopPythonWorker(t, address)
	for name, submit := range map[string]func(t *testing.T, where string) map[string]string{
		"Go":      func(t *testing.T, where string) map[string]string { return interopByGo(t, sdk, where) },
		"Python":  func(t *testing.T, where string) map[string]string { return interopByPython(t, address, where) },
		"curl":    interopOneByOne("curl", address, interopByCurl),
		"grpcurl": interopOneByOne("grpcurl", address, interopByGrpcurl),
		"gRPC-Web": interopOneByOne("web", address, func(t *testing.T, address, id, function string, payload []byte) {
			postGRPCWeb(t, address, &v1.SubmitTaskRequest{Task: &v1.Task{Id: id, Work: interopWork(function, payload)}})
		}),
	} {
		for _, where := range []string{"go", "python"} {
			t.Run(name+" to "+where, func(t *testing.T) {
				ids := submit(t, where)
				for _, call := range interopCalls {
					checkInterop(t, sdk, ids[call.function], where, call)
					if where == "go" {
						if got, _ := given.Load(ids[call.function]); got != string(call.payload) {
							t.Errorf("%s was given %q, want %q", call.function, got, call.payload)
						}
					}
				}
			})
		}
	}
}

func checkInterop(t *testing.T, sdk *client.Client, id, where string, call interopCall) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	task, err := sdk.Wait(ctx, id)
	if err != nil {
		t.Fatalf("%s, task %q: %v", call.function, id, err)
	}
	if task.GetStatus() != v1.TaskStatus_TASK_STATUS_COMPLETED || task.GetNodeId() != where {
		t.Fatalf("%s ended as %v at %s: %s", call.function, task.GetStatus(), task.GetNodeId(), task.GetError())
	}
	if got := task.GetFunction().GetPayload(); !bytes.Equal(got, call.payload) {
		t.Errorf("the payload of %s is stored as %q, want %q", call.function, got, call.payload)
	}
	if got := task.GetResult(); !bytes.Equal(got, call.result) {
		t.Errorf("%s gives %q, want %q", call.function, got, call.result)
	}
}

// interopGoWorker starts the worker, and returns what its functions were given by task.
func interopGoWorker(t *testing.T, sdk *client.Client) *sync.Map {
	w := client.NewWorker(sdk, client.WorkerOptions{Name: "go", Concurrency: 2, Logger: slog.New(slog.DiscardHandler)})
	client.Register(w, "go/describe", func(_ context.Context, g interopGreeting) (interopDescribed, error) {
		total := 0.0
		for _, rate := range g.Rates {
			total += rate
		}
		return interopDescribed{g.Name + "!", total}, nil
	})
	client.Register(w, "go/climb", climb)
	client.Register(w, "go/reverse", func(_ context.Context, data []byte) ([]byte, error) {
		data = bytes.Clone(data)
		slices.Reverse(data)
		return data, nil
	})
	given := &sync.Map{}
	w.Use(func(next client.Handler) client.Handler {
		return func(ctx context.Context, at *client.Attempt) ([]byte, error) {
			given.Store(at.Task.GetId(), string(at.Task.GetFunction().GetPayload()))
			return next(ctx, at)
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the worker in Go ended by %v", err)
		}
	})
	return given
}

const interopProgram = "testdata/functions.py"

// interopPythonWorker starts the worker, which ends by SIGTERM without a complaint.
func interopPythonWorker(t *testing.T, address string) {
	p := newProcess(t, "python", interopProgram, "work")
	p.binary = sdkPython(t)
	p.startWith(sdkPythonEnv(address))
	t.Cleanup(func() {
		p.signal(syscall.SIGTERM)
		if code := p.wait(); code != 0 {
			t.Errorf("the worker in Python ended with %d", code)
		}
	})
}

// sdkPython is the interpreter that has the SDK.
func sdkPython(t *testing.T) string {
	t.Helper()
	python := filepath.Join("..", ".tools", "sdk-python", "bin", "python")
	if _, err := os.Stat(python); err != nil {
		t.Fatalf("%v: 'make deps/clients' makes what the tests of clients need", err)
	}
	return python
}

func sdkPythonEnv(address string) []string {
	return append(cleanEnv(), "RAFT_NODE_SERVER=http://"+address, "PYTHONDONTWRITEBYTECODE=1")
}

func interopByGo(t *testing.T, sdk *client.Client, where string) map[string]string {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	described, err := client.Submit[interopGreeting, interopDescribed](ctx, sdk, where+"/describe", interopGreeting{"Grüße, 世界 😀", []float64{0.5, 0.25}})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := described.Wait(ctx); err != nil || got != (interopDescribed{"Grüße, 世界 😀!", 0.75}) {
		t.Errorf("describe gives %+v, %v", got, err)
	}
	reversed, err := client.Submit[[]byte, []byte](ctx, sdk, where+"/reverse", []byte("\x00\xff\n\x80a"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := reversed.Wait(ctx); err != nil || string(got) != "a\x80\n\xff\x00" {
		t.Errorf("reverse gives %q, %v", got, err)
	}
	return map[string]string{"describe": described.ID(), "reverse": reversed.ID()}
}

func interopByPython(t *testing.T, address, where string) (ids map[string]string) {
	cmd := exec.Command(sdkPython(t), interopProgram, "submit", where)
	var complaints bytes.Buffer
	cmd.Env, cmd.Stderr = sdkPythonEnv(address), &complaints
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, &complaints)
	}
	if err := json.Unmarshal(out, &ids); err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	return ids
}

// interopOneByOne submits by something that knows nothing of functions, and encodes nothing.
func interopOneByOne(name, address string, submit func(t *testing.T, address, id, function string, payload []byte)) func(*testing.T, string) map[string]string {
	return func(t *testing.T, where string) map[string]string {
		ids := map[string]string{}
		for _, call := range interopCalls {
			id := name + "-" + where + "-" + call.function
			submit(t, address, id, where+"/"+call.function, call.payload)
			ids[call.function] = id
		}
		return ids
	}
}

func interopByCurl(t *testing.T, address, id, function string, payload []byte) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not installed")
	}
	out, err := exec.Command("curl", "-sS", "-H", "content-type: application/json", "-d", interopJSON(id, function, payload),
		"http://"+address+"/controlplane.v1.TaskService/SubmitTask").CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte(`"id":"`+id+`"`)) {
		t.Fatalf("curl: %v\n%s", err, out)
	}
}

func interopByGrpcurl(t *testing.T, address, id, function string, payload []byte) {
	wantTool(t, []string{`"id": "` + id + `"`}, "grpcurl", "-plaintext", "-d", interopJSON(id, function, payload), address, "controlplane.v1.TaskService/SubmitTask")
}

func interopJSON(id, function string, payload []byte) string {
	return fmt.Sprintf(`{"task":{"id":%q,"function":{"name":%q,"payload":%q}}}`, id, function, base64.StdEncoding.EncodeToString(payload))
}

func interopWork(function string, payload []byte) *v1.Task_Function {
	return &v1.Task_Function{Function: &v1.FunctionTask{Name: function, Payload: payload}}
}
