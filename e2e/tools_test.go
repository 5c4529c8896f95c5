package e2e

import (
	"strings"
	"syscall"
	"testing"
)

// testGrpcurl finds the services by reflection and calls them.
func testGrpcurl(t *testing.T, address string, flags ...string) {
	with := func(args ...string) []string { return append(append([]string{}, flags...), args...) }
	wantTool(t, append(contractServices(), "grpc.health.v1.Health"), "grpcurl", with(address, "list")...)
	wantTool(t, []string{"rpc SubmitTask ( .controlplane.v1.SubmitTaskRequest ) returns ( .controlplane.v1.SubmitTaskResponse )"},
		"grpcurl", with(address, "describe", "controlplane.v1.TaskService")...)
	wantTool(t, []string{`"id": "by-grpcurl"`}, "grpcurl",
		with("-d", `{"task":{"id":"by-grpcurl","exec":{"command":["echo","hi"]}}}`, address, "controlplane.v1.TaskService/SubmitTask")...)
	wantTool(t, []string{`"id": "by-grpcurl"`, `"exec": {`}, "grpcurl", with("-d", `{"id":"by-grpcurl"}`, address, "controlplane.v1.TaskService/GetTask")...)
	failTool(t, 64+5, []string{"Code: NotFound", "nobody"}, "grpcurl", with("-d", `{"id":"nobody"}`, address, "controlplane.v1.TaskService/GetTask")...)
	failTool(t, 64+3, []string{"Code: InvalidArgument", "google.rpc.BadRequest", `"field": "task.exec.command"`}, "grpcurl",
		with("-d", `{"task":{"exec":{}}}`, address, "controlplane.v1.TaskService/SubmitTask")...)
}

// testBufCurl calls in three protocols, with what reflection tells and with the
// contract's own files.
func testBufCurl(t *testing.T, url string, flags ...string) {
	with := func(args ...string) []string { return append(append([]string{"curl"}, flags...), args...) }
	wantTool(t, contractServices(), "buf", with("--reflect-header", "*", "--list-services", url)...)
	for _, protocol := range []string{"connect", "grpc", "grpcweb"} {
		id := "by-buf-" + protocol
		wantTool(t, []string{`"id": "` + id + `"`}, "buf", with("--protocol", protocol, "--reflect-header", "*",
			"-d", `{"task":{"id":"`+id+`","exec":{"command":["echo","hi"]}}}`, url+"/controlplane.v1.TaskService/SubmitTask")...)
		wantTool(t, []string{`"id": "` + id + `"`}, "buf", with("--protocol", protocol, "--schema", "proto",
			"-d", `{"id":"`+id+`"}`, url+"/controlplane.v1.TaskService/GetTask")...)
		failTool(t, 5<<3, []string{`"code": "not_found"`}, "buf", with("--protocol", protocol, "--schema", "proto",
			"-d", `{"id":"nobody"}`, url+"/controlplane.v1.TaskService/GetTask")...)
	}
}

// testHealthProbe asks for the member and for each service.
func testHealthProbe(t *testing.T, address string, flags ...string) {
	with := func(args ...string) []string { return append(append([]string{"-addr", address}, flags...), args...) }
	wantTool(t, []string{"status: SERVING"}, "grpc-health-probe", with()...)
	for _, service := range contractServices() {
		wantTool(t, []string{"status: SERVING"}, "grpc-health-probe", with("-service", service)...)
	}
	failTool(t, 3, []string{"NotFound"}, "grpc-health-probe", with("-service", "no.such.Service")...)
}

// testHealthProbeAlone takes the other members away: what is left is not serving.
func testHealthProbeAlone(t *testing.T, c *cluster, left string) {
	for _, name := range c.names {
		if name != left {
			c.members[name].signal(syscall.SIGKILL)
			c.members[name].kill()
		}
	}
	until(t, left+" is not serving", func() bool {
		out, code := runTool(t, "grpc-health-probe", "-addr", c.addresses[left], "-rpc-timeout", "10s")
		return code == 4 && strings.Contains(out, "NOT_SERVING")
	})
}

// contractServices are the full names of the contract's services.
func contractServices() []string {
	var names []string
	for _, m := range contractMethods() {
		if name := string(m.Parent().FullName()); len(names) == 0 || names[len(names)-1] != name {
			names = append(names, name)
		}
	}
	return names
}
