package service

import (
	"fmt"
	"strings"
	"testing"
)

// TestBadInputNamesTheField sends what should be refused and looks for the code,
// the field and, at the end, for anything that was stored all the same.
func TestBadInputNamesTheField(t *testing.T) {
	m := solo(t)
	big := strings.Repeat("x", 1<<20)
	exec := `"exec":{"command":["true"]}`
	for _, c := range []struct{ method, body, want string }{
		{"TaskService/SubmitTask", ``, `the body is empty`},
		{"TaskService/SubmitTask", `{`, `ends too early`},
		{"TaskService/SubmitTask", `{}`, `task: `},
		{"TaskService/SubmitTask", `{"task":{}}`, `task.work: `},
		{"TaskService/SubmitTask", `{"task":{"max_atempts":3,` + exec + `}}`, `task.max_atempts: is no field of Task: did you mean max_attempts?`},
		{"TaskService/SubmitTask", `{"task":{` + exec + `,"function":{"name":"f"}}}`, `task.function: is given beside another one of exec or function`},
		{"TaskService/SubmitTask", `{"task":{"exec":{}}}`, `task.exec.command: `},
		{"TaskService/SubmitTask", `{"task":{"exec":{"command":[""]}}}`, `task.exec.command[0]: `},
		{"TaskService/SubmitTask", `{"task":{"exec":{"command":["a","b\u0000"]}}}`, `task.exec.command[1]: `},
		{"TaskService/SubmitTask", `{"task":{"exec":{"command":["a"],"env":{"A=B":"c"}}}}`, `task.exec.env["A=B"]: `},
		{"TaskService/SubmitTask", `{"task":{"exec":{"command":["a"],"working_dir":"/\u0000"}}}`, `task.exec.working_dir: `},
		{"TaskService/SubmitTask", `{"task":{"exec":{"command":["a"` + strings.Repeat(`,"`+big[:60000]+`"`, 20) + `]}}}`, `task.exec: `},
		{"TaskService/SubmitTask", `{"task":{"priority":1001,` + exec + `}}`, `task.priority: `},
		{"TaskService/SubmitTask", `{"task":{"priority":"high",` + exec + `}}`, `priority`},
		{"TaskService/SubmitTask", `{"task":{"id":"a b",` + exec + `}}`, `task.id: `},
		{"TaskService/SubmitTask", `{"task":{"queue":"-",` + exec + `}}`, `task.queue: `},
		{"TaskService/SubmitTask", `{"task":{"timeout":"0.0001s",` + exec + `}}`, `task.timeout: `},
		{"TaskService/SubmitTask", `{"task":{"timeout":"99999999s",` + exec + `}}`, `task.timeout: `},
		{"TaskService/SubmitTask", `{"task":{"max_attempts":101,` + exec + `}}`, `task.max_attempts: `},
		{"TaskService/SubmitTask", `{"task":{"labels":{"":"x"},` + exec + `}}`, `task.labels[""]: `},
		{"TaskService/SubmitTask", `{"task":{"resources":{"gpus":-1},` + exec + `}}`, `task.resources.gpus: `},
		{"TaskService/SubmitTask", `{"task":{"name":"` + "\xff" + `",` + exec + `}}`, `UTF-8`},
		{"TaskService/SubmitTask", `{"request_id":"` + big[:200] + `","task":{` + exec + `}}`, `request_id: `},
		{"TaskService/SubmitTasks", `{"requests":[]}`, `requests: `},
		{"TaskService/SubmitTasks", `{"requests":[{"task":{"id":"good",` + exec + `}},{"task":{"priority":1001,` + exec + `}}]}`, `requests[1].task.priority: `},
		{"TaskService/SubmitTasks", `{"requests":[{"task":{"id":"good",` + exec + `}},{"task":{"exec":{"command":[""]}}}]}`, `requests[1].task.exec.command[0]: `},
		{"TaskService/GetTask", `{}`, `id: `},
		{"TaskService/GetTask", `{"id":"a","consistency":"EVENTUAL"}`, `consistency`},
		{"TaskService/GetTask", `{"id":"a","consistency":9}`, `consistency: `},
		{"TaskService/GetTasks", `{}`, `ids: `},
		{"TaskService/GetTasks", `{"ids":["a",""]}`, `ids[1]: `},
		{"TaskService/GetTasks", `{"ids":["` + big[:65] + `"]}`, `ids[0]: `},
		{"TaskService/GetTasks", `{"ids":["a"` + strings.Repeat(`,"a"`, 1000) + `]}`, `ids: `},
		{"TaskService/GetTasks", `{"ids":["a"],"max_staleness":"1s"}`, `max_staleness: `},
		{"TaskService/ListTasks", `{"page_size":1001}`, `page_size: `},
		{"TaskService/ListTasks", `{"statuses":[0]}`, `statuses[0]: `},
		{"TaskService/ListTasks", `{"statuses":["RUNNING"]}`, `statuses`},
		{"NodeService/Heartbeat", `{"node_id":"n","session_id":"s","spec":{"slots":0}}`, `spec.slots: `},
		{"NodeService/Heartbeat", `{"node_id":"n 1","session_id":"s"}`, `node_id: `},
		{"NodeService/Heartbeat", `{"node_id":"n","session_id":"s","spec":{"slots":1,"capacity":{"gpus":2},"gpu_devices":[{"index":0}]}}`, `spec.capacity.gpus: `},
		{"NodeService/Heartbeat", `{"node_id":"n","session_id":"s","spec":{"slots":1,"capacity":{"gpus":2},"gpu_devices":[{"index":3},{"index":3}]}}`, `spec.gpu_devices[1].index: `},
		{"NodeService/PollTask", `{"node_id":"n","session_id":"s","wait":"26s"}`, `wait: `},
		{"NodeService/PollTask", `{"node_id":"n","session_id":"s","wait":"-1s"}`, `wait: `},
		{"NodeService/PollTask", `{"node_id":"n","session_id":"s","max_tasks":1001}`, `max_tasks: `},
		{"NodeService/ReportTaskResult", `{"node_id":"n","session_id":"s","task_id":"t","attempt":1}`, `status: `},
		{"NodeService/ReportTaskResult", `{"node_id":"n","session_id":"s","task_id":"t","attempt":0,"status":"TASK_STATUS_COMPLETED"}`, `attempt: `},
		{"NodeService/ReportTaskResults", `{"node_id":"n","session_id":"s","results":[{"task_id":"t","attempt":1,"status":"TASK_STATUS_RUNNING"}]}`, `results[0].status: `},
		{"NodeService/ReportTaskResults", `{"node_id":"n","session_id":"s","results":[{"task_id":"t","attempt":1,"status":4},{"task_id":"t","attempt":1,"status":5}]}`, `results[1].task_id: `},
		{"QueryService/Query", `{"sql":""}`, `sql: `},
		{"QueryService/Query", `{"sql":"SELECT ?1","params":[[1]]}`, `params[0]: `},
	} {
		status, _, body := m.post(c.method, c.body)
		if message := fmt.Sprint(body["message"]); status != 400 || body["code"] != "invalid_argument" || !strings.Contains(message, c.want) {
			t.Errorf("%s %.120s: %d %v, want %q", c.method, c.body, status, body, c.want)
		}
	}
	if _, _, body := m.post("TaskService/ListTasks", `{}`); len(body) != 0 {
		t.Errorf("stored all the same: %v", body)
	}
}

func TestTooLargeARequestIsRefused(t *testing.T) {
	m := solo(t)
	status, _, body := m.post("TaskService/SubmitTask", `{"task":{"function":{"name":"f","payload":"`+strings.Repeat("A", 5<<20)+`"}}}`)
	if body["code"] != "resource_exhausted" || !strings.Contains(fmt.Sprint(body["message"]), "4194304") {
		t.Errorf("%d %v", status, body)
	}
}

func TestRefusalsCarryTheFieldAsDetail(t *testing.T) {
	m := solo(t)
	for _, c := range []struct{ method, body, field string }{
		{"TaskService/SubmitTask", `{"task":{"exec":{}}}`, "task.exec.command"},
		{"TaskService/SubmitTask", `{"task":{"exec":{"command":[""]}}}`, "task.exec.command[0]"},
		{"TaskService/GetTask", `{"id":"nobody"}`, "id"},
		{"TaskService/ListTasks", `{"page_token":"?"}`, "page_token"},
	} {
		_, _, body := m.post(c.method, c.body)
		details, _ := body["details"].([]any)
		if len(details) != 1 || !strings.Contains(fmt.Sprint(details[0]), "google.rpc.BadRequest") || !strings.Contains(fmt.Sprint(details[0]), "field:"+c.field+"]") {
			t.Errorf("%s: %v", c.method, body)
		}
	}
}
