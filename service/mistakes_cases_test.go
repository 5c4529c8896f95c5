package service

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
)

func allMistakes(m *member) []mistake {
	var all []mistake
	for _, g := range [][]mistake{
		jsonMistakes(), ruleMistakes(), fieldMistakes(), stateMistakes(), batchMistakes(), pageMistakes(m), sqlMistakes(),
		protocolMistakes(), httpMistakes(), rqliteMistakes(), tokenMistakes(),
	} {
		all = append(all, g...)
	}
	return all
}

// grouped gives mistakes their group.
func grouped(group string, all []mistake) []mistake {
	for i := range all {
		all[i].group = group
	}
	return all
}

const submit, exec = "TaskService/SubmitTask", `"exec":{"command":["true"]}`

func jsonMistakes() []mistake {
	return grouped("JSON that is not understood", []mistake{
		{what: "no body", method: submit},
		{what: "an empty object", method: submit, body: `{}`},
		{what: "half an object", method: submit, body: `{"task":`},
		{what: "two objects", method: submit, body: `{} {}`},
		{what: "a list", method: submit, body: `[]`},
		{what: "null", method: submit, body: `null`},
		{what: "text that is no JSON", method: submit, body: `task=1`},
		{what: "a misspelt field", method: submit, body: `{"task":{"max_atempts":3,` + exec + `}}`},
		{what: "a misspelt field in camel case", method: submit, body: `{"task":{"maxAtempts":3,` + exec + `}}`},
		{what: "a field in the wrong place", method: submit, body: `{"task":{` + exec + `},"priority":3}`},
		{what: "a field that there is nowhere", method: submit, body: `{"task":{"shoe_size":44,` + exec + `}}`},
		{what: "a field whose name is long", method: submit, body: `{"` + strings.Repeat("x", 5000) + `":1}`},
		{what: "a field twice", method: submit, body: `{"request_id":"a","request_id":"b","task":{` + exec + `}}`},
		{what: "a field in both spellings", method: submit, body: `{"request_id":"a","requestId":"b","task":{` + exec + `}}`},
		{what: "a map key twice", method: submit, body: `{"task":{"labels":{"a":"1","a":"2"},` + exec + `}}`},
		{what: "a command and a function", method: submit, body: `{"task":{` + exec + `,"function":{"name":"f"}}}`},
		{what: "text for a number", method: submit, body: `{"task":{"priority":"high",` + exec + `}}`},
		{what: "a fraction for a whole number", method: submit, body: `{"task":{"priority":1.5,` + exec + `}}`},
		{what: "a number of more than 32 bits", method: submit, body: `{"task":{"priority":3000000000,` + exec + `}}`},
		{what: "a number of more than 64 bits", method: submit, body: `{"task":{"resources":{"memory_bytes":99999999999999999999},` + exec + `}}`},
		{what: "a number for text", method: submit, body: `{"task":{"name":5,` + exec + `}}`},
		{what: "a number for a list", method: submit, body: `{"task":{"exec":{"command":5}}}`},
		{what: "text for a list", method: submit, body: `{"task":{"exec":{"command":"echo hello"}}}`},
		{what: "text for a message", method: submit, body: `{"task":{"exec":"echo hello"}}`},
		{what: "a list for a map", method: submit, body: `{"task":{"labels":["a=b"],` + exec + `}}`},
		{what: "a number as a map's value", method: submit, body: `{"task":{"labels":{"gpus":8},` + exec + `}}`},
		{what: "null in a list", method: submit, body: `{"task":{"exec":{"command":["a",null]}}}`},
		{what: "a duration without its unit", method: submit, body: `{"task":{"timeout":"90",` + exec + `}}`},
		{what: "a duration in minutes", method: submit, body: `{"task":{"timeout":"1m30s",` + exec + `}}`},
		{what: "a duration as a number", method: submit, body: `{"task":{"timeout":90,` + exec + `}}`},
		{what: "a time that is none", method: submit, body: `{"task":{"create_time":"yesterday",` + exec + `}}`},
		{what: "bytes that are not base64", method: submit, body: `{"task":{"function":{"name":"f","payload":"{\"a\":1}"}}}`},
		{what: "text for a bool", method: "NodeService/Heartbeat", body: `{"node_id":"n9","session_id":"s9","spec":{"slots":1,"spot":"yes"}}`},
		{what: "a short name of an enum", method: "TaskService/ListTasks", body: `{"statuses":["RUNNING"]}`},
		{what: "a name that the enum does not have", method: "TaskService/GetTask", body: `{"id":"running","consistency":"EVENTUAL"}`},
		{what: "an enum in lower case", method: "NodeService/ListNodes", body: `{"statuses":["node_status_healthy"]}`},
		{what: "bytes that are no UTF-8", method: submit, body: `{"task":{"name":"` + "\xff" + `",` + exec + `}}`},
		{what: "half a surrogate pair", method: submit, body: `{"task":{"name":"\ud800",` + exec + `}}`},
		{what: "messages within each other without end", method: "QueryService/Query", body: `{"sql":"SELECT 1","params":[` + strings.Repeat("[", 11000) + strings.Repeat("]", 11000) + `]}`},
	})
}

func fieldMistakes() []mistake {
	return grouped("What the rules cannot say", []mistake{
		{what: "a traceparent of zeros", method: submit, body: `{"task":{"traceparent":"00-00000000000000000000000000000000-00f067aa0ba902b7-01",` + exec + `}}`},
		{what: "a traceparent whose span is zeros", method: submit, body: `{"task":{"traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",` + exec + `}}`},
		{what: "a tracestate alone", method: submit, body: `{"task":{"tracestate":"a=1",` + exec + `}}`},
		{what: "no program", method: submit, body: `{"task":{"exec":{"command":["","a"]}}}`},
		{what: "a NUL byte in an argument", method: submit, body: `{"task":{"exec":{"command":["a","b\u0000c"]}}}`},
		{what: "a NUL byte in the working directory", method: submit, body: `{"task":{"exec":{"command":["a"],"working_dir":"/tmp\u0000"}}}`},
		{what: "'=' in a variable's name", method: submit, body: `{"task":{"exec":{"command":["a"],"env":{"A=B":"c"}}}}`},
		{what: "a NUL byte in a variable's value", method: submit, body: `{"task":{"exec":{"command":["a"],"env":{"A":"b\u0000"}}}}`},
		{what: "more than 1 MiB of arguments", method: submit, body: `{"task":{"exec":{"command":["a"` + strings.Repeat(`,"`+strings.Repeat("x", 60000)+`"`, 20) + `]}}}`},
		{what: "a label key of 1 MiB", method: submit, body: `{"task":{"labels":{"` + strings.Repeat("x", 1<<20) + `":"v"},` + exec + `}}`},
		{what: "many fields wrong at once", method: submit, body: `{"request_id":"` + strings.Repeat("x", 129) + `","task":{"id":"a b","queue":"-","priority":9999,"max_attempts":-1,"timeout":"0s"}}`},
		{what: "thousands of items wrong at once", method: "NodeService/Heartbeat", body: `{"node_id":"n1","session_id":"s1","held":[` + strings.TrimSuffix(strings.Repeat(`{"task_id":"x","attempt":0},`, 9000), ",") + `]}`, show: `{"node_id":"n1","session_id":"s1","held":[…9000 × {"task_id":"x","attempt":0}…]}`},
		{what: "cancel without a filter", method: "TaskService/CancelTasks", body: `{}`},
		{what: "cancel everything and a queue", method: "TaskService/CancelTasks", body: `{"all":true,"queue":"q"}`},
		{what: "two times for a start", method: submit, body: `{"task":{` + exec + `,"earliest_start_time":"2038-01-01T00:00:00Z","start_delay":"1s"}}`},
		{what: "a concurrency without its key", method: submit, body: `{"task":{` + exec + `,"max_concurrency":2}}`},
		{what: "a longest backoff that is shorter than the first", method: submit, body: `{"task":{` + exec + `,"retry_policy":{"initial_backoff":"5s","max_backoff":"2s"}}}`},
		{what: "a label selector IN nothing", method: submit, body: `{"task":{"constraints":{"labels":[{"key":"k","operator":"LABEL_OPERATOR_IN"}]},` + exec + `}}`},
		{what: "a label selector EXISTS with values", method: submit, body: `{"task":{"constraints":{"labels":[{"key":"k","operator":"LABEL_OPERATOR_EXISTS","values":["a"]}]},` + exec + `}}`},
		{what: "a label selector GREATER_THAN two values", method: submit, body: `{"task":{"constraints":{"labels":[{"key":"k","operator":"LABEL_OPERATOR_GREATER_THAN","values":["1","2"]}]},` + exec + `}}`},
		{what: "a label selector GREATER_THAN a word", method: submit, body: `{"task":{"constraints":{"labels":[{"key":"k","operator":"LABEL_OPERATOR_GREATER_THAN","values":["big"]}]},` + exec + `}}`},
		{what: "a model of GPU, and no GPUs", method: submit, body: `{"task":{"constraints":{"gpu_models":["h100"]},` + exec + `}}`},
		{what: "memory of GPUs, and no GPUs", method: submit, body: `{"task":{"constraints":{"min_gpu_memory_bytes":1},` + exec + `}}`},
		{what: "GPUs without devices", method: "NodeService/Heartbeat", body: `{"node_id":"n1","session_id":"s1","spec":{"slots":1,"capacity":{"gpus":2}}}`},
		{what: "two devices of one index", method: "NodeService/Heartbeat", body: `{"node_id":"n1","session_id":"s1","spec":{"slots":1,"capacity":{"gpus":2},"gpu_devices":[{"index":3},{"index":3}]}}`},
		{what: "the same task reported twice in one call", method: "NodeService/ReportTaskResults", body: `{"node_id":"n1","session_id":"s1","results":[{"task_id":"running","attempt":1,"status":4},{"task_id":"running","attempt":1,"status":5}]}`},
		{what: "a success that is permanent", method: "NodeService/ReportTaskResult", body: `{"task_id":"running","attempt":1,"node_id":"n1","session_id":"s1","status":"TASK_STATUS_COMPLETED","permanent":true}`},
		{what: "a wait after a success", method: "NodeService/ReportTaskResults", body: `{"node_id":"n1","session_id":"s1","results":[{"task_id":"running","attempt":1,"status":"TASK_STATUS_COMPLETED","retry_after":"5s"}]}`},
		{what: "a wait after a failure that is permanent", method: "NodeService/ReportTaskResult", body: `{"task_id":"running","attempt":1,"node_id":"n1","session_id":"s1","status":"TASK_STATUS_FAILED","permanent":true,"retry_after":"5s"}`},
		{what: "an offset without its attempt", method: "LogService/ReadLog", body: `{"task_id":"running","offset":"5"}`},
		{what: "an offset without its attempt", method: "LogService/TailLog", body: `{"task_id":"running","offset":"5"}`, proto: "Connect stream"},
		{what: "text older than the oldest", method: "LogService/PushLogs", body: `{"node_id":"n1","session_id":"s1","chunks":[{"task_id":"running","attempt":1,"offset":"5","oldest_offset":"6"}]}`},
		{what: "more than 1 MiB of text", method: "LogService/PushLogs", body: `{"node_id":"n1","session_id":"s1","chunks":[` + strings.TrimSuffix(strings.Repeat(`{"task_id":"running","attempt":1,"text":"`+strings.Repeat("x", 65536)+`"},`, 17), ",") + `]}`, show: `{"node_id":"n1","session_id":"s1","chunks":[…17 × {"task_id":"running","attempt":1,"text":"…65536 bytes…"}…]}`},
		{what: "a cursor that is none", method: "TaskService/WatchTasks", body: `{"cursor":"yesterday"}`, proto: "Connect stream"},
		{what: "a cursor beyond the newest change", method: "TaskService/WatchTasks", body: `{"cursor":"999999999-1"}`, proto: "Connect stream"},
		{what: "a cursor that is none", method: "EventService/WatchEvents", body: `{"cursor":"12"}`, proto: "Connect stream"},
		{what: "a cursor that is none", method: "EventService/ListEvents", body: `{"cursor":"-1-0"}`},
		{what: "a cursor beyond the newest change", method: "EventService/ListEvents", body: `{"cursor":"999999999-1"}`},
		{what: "a bound on staleness without asking for a stale answer", method: "TaskService/GetTask", body: `{"id":"running","max_staleness":"1s"}`},
		{what: "a minimal index that is no number", method: "TaskService/GetTask", body: `{"id":"running"}`, header: []string{minIndexHeader, "newest"}},
		{what: "a minimal index that does not come", method: "TaskService/GetTask", body: `{"id":"running"}`, header: []string{minIndexHeader, "99999999", "Connect-Timeout-Ms", "2000"}},
	})
}

func stateMistakes() []mistake {
	report := func(id, attempt, node, session, status string) string {
		return `{"task_id":"` + id + `","attempt":` + attempt + `,"node_id":"` + node + `","session_id":"` + session + `","status":"TASK_STATUS_` + status + `"}`
	}
	const one = "NodeService/ReportTaskResult"
	return grouped("What the state does not allow", []mistake{
		{what: "a task that there is not", method: "TaskService/GetTask", body: `{"id":"nobody"}`},
		{what: "cancel a task that there is not", method: "TaskService/CancelTask", body: `{"id":"nobody"}`},
		{what: "a node that there is not", method: "NodeService/GetNode", body: `{"id":"nobody"}`},
		{what: "a member at no address", method: "ClusterService/JoinMember", body: `{"address":"member-b"}`},
		{what: "a member at an address where nobody is", method: "ClusterService/JoinMember", body: `{"address":"127.0.0.1:1"}`},
		{what: "the removal of a member that there is not", method: "ClusterService/RemoveMember", body: `{"name":"nobody"}`},
		{what: "the removal of the only member", method: "ClusterService/RemoveMember", body: `{"name":"solo"}`},
		{what: "a vote for a member that there is not", method: "ClusterService/PromoteMember", body: `{"name":"nobody"}`},
		{what: "leadership for a member that there is not", method: "ClusterService/TransferLeadership", body: `{"name":"nobody"}`},
		{what: "leadership for another member, where there is none", method: "ClusterService/TransferLeadership", body: `{}`},
		{what: "a snapshot of a member that there is not", method: "ClusterService/Snapshot", body: `{"name":"nobody"}`},
		{what: "the log of a task that there is not", method: "LogService/ReadLog", body: `{"task_id":"nobody"}`},
		{what: "the log of an attempt that there is not", method: "LogService/ReadLog", body: `{"task_id":"done","attempt":9}`},
		{what: "the log of an attempt that there is not", method: "LogService/TailLog", body: `{"task_id":"done","attempt":9}`, proto: "Connect stream"},
		{what: "retry a task that there is not", method: "TaskService/RetryTask", body: `{"id":"nobody"}`},
		{what: "retry a task that is completed", method: "TaskService/RetryTask", body: `{"id":"done"}`},
		{what: "a queue that there is not", method: "QueueService/GetQueue", body: `{"name":"nobody"}`},
		{what: "update a queue without settings", method: "QueueService/UpdateQueue", body: `{"queue":{"name":"nobody","weight":2}}`},
		{what: "pause a queue without settings", method: "QueueService/PauseQueue", body: `{"name":"nobody"}`},
		{what: "create a queue that has other settings", method: "QueueService/CreateQueue", body: `{"queue":{"name":"default","weight":7}}`},
		{what: "delete a queue without settings", method: "QueueService/DeleteQueue", body: `{"name":"nobody"}`},
		{what: "delete a queue in which tasks wait", method: "QueueService/DeleteQueue", body: `{"name":"default"}`},
		{what: "an id that another task has", method: submit, body: `{"task":{"id":"waiting-1","exec":{"command":["other"]}}}`},
		{what: "an id that another kind of task has", method: submit, body: `{"task":{"id":"waiting-1","function":{"name":"f"}}}`},
		{what: "an id that a task has that has ended", method: submit, body: `{"task":{"id":"done","exec":{"command":["other"]}}}`},
		{what: "a request_id that another task has", method: submit, body: `{"request_id":"key-1","task":{"id":"fresh",` + exec + `}}`},
		{what: "a request_id of one task with the id of another", method: submit, body: `{"request_id":"key-1","task":{"id":"waiting-1",` + exec + `}}`},
		{what: "a request_id again, for something else", method: submit, body: `{"request_id":"key-1","task":{"exec":{"command":["other"]}}}`},
		{what: "report a task that there is not", method: one, body: report("nobody", "1", "n1", "s1", "COMPLETED")},
		{what: "report an attempt that has not been", method: one, body: report("running", "2", "n1", "s1", "COMPLETED")},
		{what: "report another node's task", method: one, body: report("running", "1", "n2", "s-new", "COMPLETED")},
		{what: "report in a session that was never there", method: one, body: report("running", "1", "n1", "s-no", "COMPLETED")},
		{what: "report in a session that was replaced", method: one, body: report("running", "1", "n2", "s-old", "COMPLETED")},
		{what: "report by a node that there is not", method: one, body: report("running", "1", "n9", "s9", "COMPLETED")},
		{what: "report a task that waits", method: one, body: report("waiting-1", "1", "n1", "s1", "COMPLETED")},
		{what: "report another end of a task that has ended", method: one, body: report("done", "1", "n1", "s1", "FAILED")},
		{what: "report a task that was cancelled before it ran", method: one, body: report("waiting-3", "1", "n1", "s1", "COMPLETED")},
		{what: "poll in a session that was replaced", method: "NodeService/PollTask", body: `{"node_id":"n2","session_id":"s-old","wait":"1s"}`},
		{what: "poll by a node that there is not", method: "NodeService/PollTask", body: `{"node_id":"n9","session_id":"s9"}`},
		{what: "poll in a session that did not register", method: "NodeService/PollTask", body: `{"node_id":"n1","session_id":"s-no"}`},
		{what: "heartbeat of a session that was replaced", method: "NodeService/Heartbeat", body: `{"node_id":"n2","session_id":"s-old"}`},
		{what: "register in a session that was replaced", method: "NodeService/Heartbeat", body: `{"node_id":"n2","session_id":"s-old","spec":{"slots":1}}`},
		{what: "heartbeat of a node that there is not", method: "NodeService/Heartbeat", body: `{"node_id":"n9","session_id":"s9"}`},
		{what: "a first heartbeat of a session without spec", method: "NodeService/Heartbeat", body: `{"node_id":"n1","session_id":"s-no"}`},
		{what: "register with the session of another node", method: "NodeService/Heartbeat", body: `{"node_id":"n1","session_id":"s-old","spec":{"slots":1}}`},
		{what: "report and poll in a session that was replaced", method: "NodeService/ReportTaskResults", body: `{"node_id":"n2","session_id":"s-old","max_tasks":1}`},
	})
}

func batchMistakes() []mistake {
	return grouped("Batches with one bad item", []mistake{
		{what: "one that a rule refuses: none is stored", method: "TaskService/SubmitTasks", body: `{"requests":[{"task":{"id":"good",` + exec + `}},{"task":{"priority":1001,` + exec + `}}]}`},
		{what: "one without a program: none is stored", method: "TaskService/SubmitTasks", body: `{"requests":[{"task":{"id":"good",` + exec + `}},{"task":{"exec":{"command":[""]}}}]}`},
		{what: "one without a task: none is stored", method: "TaskService/SubmitTasks", body: `{"requests":[{"task":{"id":"good",` + exec + `}},{}]}`},
		{what: "null as one: none is stored", method: "TaskService/SubmitTasks", body: `{"requests":[{"task":{"id":"good",` + exec + `}},null]}`},
		{what: "text of attempts that the session does not hold", method: "LogService/PushLogs", body: `{"node_id":"n1","session_id":"s1","chunks":[{"task_id":"running","attempt":7,"text":"x"},{"task_id":"nobody","attempt":1,"text":"x"}]}`, batch: true},
		{what: "text in a session that was replaced", method: "LogService/PushLogs", body: `{"node_id":"n2","session_id":"s-old","chunks":[{"task_id":"running","attempt":1,"text":"x"}]}`, batch: true},
		{what: "one whose id another task has", method: "TaskService/SubmitTasks", body: `{"requests":[{"task":{"id":"waiting-1","exec":{"command":["other"]}}}]}`, batch: true},
		{what: "tasks of which one is not there", method: "TaskService/GetTasks", body: `{"ids":["nobody"]}`, batch: true},
		{what: "tasks of which one has an id that none can have: none is read", method: "TaskService/GetTasks", body: `{"ids":["running",""]}`},
		{what: "results of which one has no status: none is recorded", method: "NodeService/ReportTaskResults", body: `{"node_id":"n1","session_id":"s1","results":[{"task_id":"running","attempt":1,"status":"TASK_STATUS_COMPLETED"},{"task_id":"waiting-1","attempt":1}]}`},
		{what: "results that are all refused, each for itself", method: "NodeService/ReportTaskResults", body: `{"node_id":"n1","session_id":"s1","results":[{"task_id":"nobody","attempt":1,"status":4},{"task_id":"running","attempt":7,"status":4},{"task_id":"waiting-1","attempt":1,"status":4}]}`, batch: true},
		{what: "results in a session that was replaced", method: "NodeService/ReportTaskResults", body: `{"node_id":"n2","session_id":"s-old","results":[{"task_id":"running","attempt":1,"status":4}]}`, batch: true},
	})
}

// pageMistakes need tokens that a member has given.
func pageMistakes(m *member) []mistake {
	tasks := m.nextPage("TaskService/ListTasks", `{"page_size":1,"queue":"default"}`)
	nodes := m.nextPage("NodeService/ListNodes", `{"page_size":1}`)
	flipped := flip(m, tasks)
	other := newPageTokens("another secret").make(listTasks(), seqPlace(2))
	list := func(token, more string) string { return `{"page_size":1` + more + `,"page_token":"` + token + `"}` }
	return grouped("Page tokens", []mistake{
		{what: "one that is no base64", method: "TaskService/ListTasks", body: list("next please!", "")},
		{what: "one that was made up", method: "TaskService/ListTasks", body: list(base64.RawURLEncoding.EncodeToString([]byte("0123456789abc")), "")},
		{what: "one with a bit changed", method: "TaskService/ListTasks", body: list(flipped, `,"queue":"default"`)},
		{what: "one that was cut", method: "TaskService/ListTasks", body: list(tasks[:len(tasks)-2], `,"queue":"default"`)},
		{what: "one that was cut to nearly nothing", method: "TaskService/ListTasks", body: list(tasks[:4], `,"queue":"default"`)},
		{what: "one with something behind it", method: "TaskService/ListTasks", body: list(tasks+"AA", `,"queue":"default"`)},
		{what: "one of a list with other filters", method: "TaskService/ListTasks", body: list(tasks, "")},
		{what: "one of a list with one filter more", method: "TaskService/ListTasks", body: list(tasks, `,"queue":"default","name":"x"`)},
		{what: "one of another method", method: "TaskService/ListTasks", body: list(nodes, "")},
		{what: "one of another cluster", method: "TaskService/ListTasks", body: list(other, `,"queue":"default"`)},
		{what: "one of another method, for nodes", method: "NodeService/ListNodes", body: list(tasks, "")},
		{what: "one of a list of other nodes", method: "NodeService/ListNodes", body: list(nodes, `,"statuses":["NODE_STATUS_HEALTHY"]`)},
	})
}

func sqlMistakes() []mistake {
	var all []mistake
	for _, c := range [][2]string{
		{"nothing but a comment", `-- which tasks?`},
		{"nothing but spaces", `   `},
		{"a typing error", `SELEC id FROM tasks`},
		{"half a statement", `SELECT id FROM`},
		{"a text that does not end", `SELECT 'abc`},
		{"a table that there is not", `SELECT * FROM jobs`},
		{"a column that there is not", `SELECT state FROM tasks`},
		{"a function that there is not", `SELECT now()`},
		{"a function with too many arguments", `SELECT abs(1, 2)`},
		{"an aggregate in WHERE", `SELECT id FROM tasks WHERE count(*) > 1`},
		{"two statements", `SELECT 1; SELECT 2`},
		{"a second statement that writes", `SELECT 1; DROP TABLE tasks`},
		{"INSERT", `INSERT INTO tasks (id) VALUES ('x')`},
		{"UPDATE", `UPDATE tasks SET status = 'COMPLETED'`},
		{"DELETE that returns rows", `DELETE FROM tasks RETURNING id`},
		{"DROP", `DROP TABLE tasks`},
		{"CREATE", `CREATE TABLE x (y)`},
		{"CREATE TEMP", `CREATE TEMP TABLE x AS SELECT * FROM tasks`},
		{"ALTER", `ALTER TABLE tasks ADD COLUMN x`},
		{"ATTACH", `ATTACH '/etc/passwd' AS x`},
		{"VACUUM INTO", `VACUUM INTO '/tmp/stolen.db'`},
		{"PRAGMA that sets", `PRAGMA query_only = OFF`},
		{"PRAGMA that writes", `PRAGMA wal_checkpoint(TRUNCATE)`},
		{"BEGIN", `BEGIN`},
		{"SAVEPOINT", `SAVEPOINT x`},
		{"REINDEX", `REINDEX`},
		{"ANALYZE", `ANALYZE`},
		{"an extension", `SELECT load_extension('evil')`},
		{"a NUL byte", `SELECT 1\u0000`},
		{"a statement that does not end", `WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(x) FROM c`},
		{"a value that is too large", `SELECT zeroblob(100000000)`},
		{"a first row that is too large", `SELECT hex(zeroblob(3000000))`},
		{"too many columns", `SELECT ` + strings.TrimSuffix(strings.Repeat("1,", 3000), ",")},
		{"expressions too deep", `SELECT ` + strings.Repeat("(1+", 500) + "1" + strings.Repeat(")", 500)},
		{"too many parts of a UNION", `SELECT 1` + strings.Repeat(" UNION ALL SELECT 1", 200)},
		{"a name of 60,000 bytes", `SELECT ` + strings.Repeat("x", 60000)},
		{"overflow", `SELECT sum(9223372036854775807) FROM (SELECT 1 UNION ALL SELECT 1)`},
		{"JSON that is none", `SELECT json_extract('{', '$.a')`},
		{"a parameter beyond ?999", `SELECT ?1000`},
	} {
		all = append(all, mistake{what: c[0], method: "QueryService/Query", body: `{"sql":"` + c[1] + `"}`})
	}
	for _, c := range [][2]string{
		{"more params than the statement takes", `{"sql":"SELECT ?1","params":[1,2,3]}`},
		{"a list as a parameter", `{"sql":"SELECT ?1","params":[[1,2]]}`},
		{"an object as a parameter", `{"sql":"SELECT ?1, ?2","params":[1,{"a":1}]}`},
	} {
		all = append(all, mistake{what: c[0], method: "QueryService/Query", body: c[1]})
	}
	return grouped("SQL", all)
}

// zeros is a gzip of many zeros.
func zeros(n int64) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.CopyN(w, zeroReader{}, n)
	_ = w.Close()
	return b.Bytes()
}

type zeroReader struct{}

func (zeroReader) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func protocolMistakes() []mistake {
	bomb := zeros(100 << 20)
	bad := `{"task":{"priority":1001,` + exec + `}}`
	var all []mistake
	for _, p := range []string{"Connect proto", "gRPC", "gRPC-Web"} {
		all = append(all,
			mistake{what: "a rule broken", method: submit, body: bad, proto: p},
			mistake{what: "nothing set", method: submit, body: `{}`, proto: p},
			mistake{what: "a task that there is not", method: "TaskService/GetTask", body: `{"id":"nobody"}`, proto: p},
			mistake{what: "a session that was replaced", method: "NodeService/PollTask", body: `{"node_id":"n2","session_id":"s-old"}`, proto: p},
			mistake{what: "a report for a wrong attempt", method: "NodeService/ReportTaskResult", body: `{"task_id":"running","attempt":2,"node_id":"n1","session_id":"s1","status":4}`, proto: p},
			mistake{what: "a page token that was made up", method: "TaskService/ListTasks", body: `{"page_token":"AAAA"}`, proto: p},
			mistake{what: "SQL that writes", method: "QueryService/Query", body: `{"sql":"DELETE FROM tasks"}`, proto: p},
			mistake{what: "bytes that are no Protobuf", method: submit, raw: []byte("\xff\xff\xff"), show: `\xff\xff\xff`, proto: p},
			mistake{what: "text that is no UTF-8", method: "TaskService/GetTask", raw: []byte("\x0a\x02\xff\xfe"), show: `id: \xff\xfe`, proto: p},
			mistake{what: "more than 4 MiB", method: submit, raw: make([]byte, 4<<20+1), show: "4 MiB and 1 byte", proto: p},
			mistake{what: "a method that there is not", method: "TaskService/DeleteTask", raw: []byte{}, show: "nothing", proto: p},
		)
	}
	for _, p := range []string{"gRPC", "gRPC-Web"} {
		encoding := "Grpc-Encoding"
		all = append(all,
			mistake{what: "gzip of 100 MiB of zeros", method: submit, raw: bomb, flags: 1, header: []string{encoding, "gzip"}, show: fmt.Sprintf("%d kB of gzip", len(bomb)/1000), proto: p},
			mistake{what: "gzip that is none", method: submit, raw: []byte("not gzip"), flags: 1, header: []string{encoding, "gzip"}, show: "not gzip", proto: p},
			mistake{what: "a compression that is not known", method: submit, raw: []byte("x"), flags: 1, header: []string{encoding, "zstd"}, show: "x", proto: p},
			mistake{what: "a frame that is compressed without saying how", method: submit, raw: []byte("x"), flags: 1, show: "x", proto: p},
			mistake{what: "a frame of more than 4 MiB in chunks", method: submit, raw: make([]byte, 4<<20+1), chunked: true, show: "4 MiB and 1 byte", proto: p},
			mistake{what: "a frame that is cut off", method: submit, raw: []byte("\x00\x00\x00"), unframed: true, show: "3 bytes", proto: p},
			mistake{what: "a message that is cut off", method: submit, raw: []byte("\x00\x00\x00\x00\x09xyz"), unframed: true, show: "3 bytes of 9", proto: p},
			mistake{what: "a timeout that is none", method: "TaskService/GetTask", body: `{"id":"running"}`, header: []string{"Grpc-Timeout", "soon"}, proto: p},
			mistake{what: "a timeout of nine digits", method: "TaskService/GetTask", body: `{"id":"running"}`, header: []string{"Grpc-Timeout", "123456789m"}, proto: p},
			mistake{what: "a timeout of a nanosecond", method: "TaskService/GetTask", body: `{"id":"running"}`, header: []string{"Grpc-Timeout", "1n"}, proto: p},
		)
	}
	all = append(all,
		mistake{what: "more than 4 MiB in chunks", method: submit, raw: make([]byte, 4<<20+1), chunked: true, show: "4 MiB and 1 byte", proto: "Connect proto"},
		mistake{what: "more than 4 MiB", method: submit, body: `{"task":{"function":{"name":"f","payload":"` + strings.Repeat("A", 5<<20) + `"}}}`},
		mistake{what: "gzip of 100 MiB of zeros", method: submit, body: string(bomb), header: []string{"Content-Encoding", "gzip"}, show: fmt.Sprintf("%d kB of gzip", len(bomb)/1000)},
		mistake{what: "gzip that is none", method: submit, body: "not gzip", header: []string{"Content-Encoding", "gzip"}},
		mistake{what: "gzip that was cut", method: submit, body: string(zeros(1000)[:15]), header: []string{"Content-Encoding", "gzip"}, show: "15 bytes of gzip"},
		mistake{what: "a compression that is not known", method: submit, body: `{}`, header: []string{"Content-Encoding", "zstd"}},
		mistake{what: "a timeout that is none", method: "TaskService/GetTask", body: `{"id":"running"}`, header: []string{"Connect-Timeout-Ms", "soon"}},
		mistake{what: "a timeout of more than ten digits", method: "TaskService/GetTask", body: `{"id":"running"}`, header: []string{"Connect-Timeout-Ms", "12345678901"}},
		mistake{what: "a timeout that is over at once", method: "TaskService/GetTask", body: `{"id":"running"}`, header: []string{"Connect-Timeout-Ms", "0"}},
		mistake{what: "a timeout that is over at once, for a write", method: submit, body: `{"task":{"id":"late",` + exec + `}}`, header: []string{"Connect-Timeout-Ms", "0"}},
		mistake{what: "a version of Connect that there is not", method: "TaskService/GetTask", body: `{"id":"running"}`, header: []string{"Connect-Protocol-Version", "9"}},
	)
	return grouped("Protocols", all)
}

func httpMistakes() []mistake {
	const get = "GET"
	return grouped("HTTP", []mistake{
		{what: "curl without a content type", method: submit, body: `{"task":{` + exec + `}}`, header: []string{"Content-Type", "application/x-www-form-urlencoded"}},
		{what: "no content type", method: submit, body: `{}`, header: []string{"Content-Type", ""}},
		{what: "XML", method: submit, body: `<task/>`, header: []string{"Content-Type", "text/xml"}},
		{what: "JSON in another charset", method: submit, body: `{}`, header: []string{"Content-Type", "application/json; charset=latin1"}},
		{what: "a unary call in the form of streams", method: submit, body: `{}`, header: []string{"Content-Type", "application/connect+json"}},
		{what: "a stream in the form of unary calls", method: "TaskService/WatchTasks", body: `{}`},
		{what: "GET of a method that changes things", method: submit, verb: get},
		{what: "GET of a method without its message", method: "TaskService/GetTask", verb: get, path: "/controlplane.v1.TaskService/GetTask"},
		{what: "GET of a method in an unknown encoding", method: "TaskService/GetTask", verb: get, path: "/controlplane.v1.TaskService/GetTask?connect=v1&encoding=xml&message=x"},
		{what: "GET of a method with a compression that is not known", method: "TaskService/GetTask", verb: get, path: "/controlplane.v1.TaskService/GetTask?connect=v1&encoding=json&compression=br&message=%7B%7D"},
		{what: "GET of a method with base64 that is none", method: "TaskService/GetTask", verb: get, path: "/controlplane.v1.TaskService/GetTask?connect=v1&encoding=json&base64=1&message=!!"},
		{what: "GET of a method with a misspelt field", method: "TaskService/GetTask", verb: get, path: "/controlplane.v1.TaskService/GetTask?connect=v1&encoding=json&message=%7B%22ids%22:1%7D"},
		{what: "PUT", method: submit, verb: "PUT", body: `{}`},
		{what: "DELETE", method: "TaskService/CancelTask", verb: "DELETE", body: `{}`},
		{what: "a method that there is not", method: "TaskService/DeleteTask", body: `{}`},
		{what: "a method in lower case", method: "TaskService/submitTask", body: `{}`},
		{what: "a service that there is not", method: "JobService/Submit", body: `{}`},
		{what: "a service without its package", method: submit, path: "/TaskService/SubmitTask", body: `{}`, plain: true},
		{what: "a path that leads nowhere", method: "GET", verb: get, path: "/tasks", plain: true},
		{what: "a path with a slash too many", method: submit, path: "/controlplane.v1.TaskService/SubmitTask/", body: `{}`, plain: true},
		{what: "a host that is not this machine", method: submit, body: `{}`, header: []string{"Host", "attacker.example"}},
		{what: "a host that only begins as this machine", method: submit, body: `{}`, header: []string{"Host", "localhost.attacker.example"}},
		{what: "a host that is not this machine, in a browser", method: "GET", verb: get, path: "/metrics", header: []string{"Host", "attacker.example:8080"}, plain: true},
		{what: "a web page of somebody else", method: submit, body: `{}`, header: []string{"Origin", "https://attacker.example"}},
		{what: "a web page without an origin", method: submit, body: `{}`, header: []string{"Origin", "null"}},
		{what: "Raft by a caller that does not upgrade", method: "GET", verb: get, path: "/raft", plain: true},
		{what: "Raft for another cluster", method: "GET", verb: get, path: "/raft/member", header: []string{"Raft-Cluster-Id", "x"}, plain: true},
		{what: "Raft for another member", method: "GET", verb: get, path: "/raft", header: []string{"Upgrade", "raft", "Connection", "Upgrade", "Raft-To", "m7-00000000"}, plain: true},
		{what: "a join that cannot be read", method: "POST", path: "/raft/join", body: `{"id":5}`, plain: true},
		{what: "a join without an id", method: "POST", path: "/raft/join", body: `{}`, plain: true},
	})
}

func rqliteMistakes() []mistake {
	var all []mistake
	for _, c := range [][3]string{
		{"a statement that writes", "/db/query", `["DELETE FROM tasks"]`},
		{"execute", "/db/execute", `["DELETE FROM tasks"]`},
		{"a body that is no JSON", "/db/query", `SELECT 1`},
		{"an object for a list", "/db/query", `{"sql":"SELECT 1"}`},
		{"a number for a statement", "/db/query", `[1]`},
		{"no statement", "/db/query", `[]`},
		{"a level that there is not", "/db/query?level=best", `["SELECT 1"]`},
		{"a timeout that is none", "/db/query?db_timeout=soon", `["SELECT 1"]`},
		{"a column that there is not, beside a good statement", "/db/query", `["SELECT 1 AS one", "SELECT nix FROM tasks"]`},
	} {
		all = append(all, mistake{what: c[0], method: "rqlite", path: c[1], body: c[2], plain: true})
	}
	return grouped("rqlite's API", all)
}

func tokenMistakes() []mistake {
	var all []mistake
	for _, c := range [][2]string{
		{"none", ""}, {"a wrong one", "Bearer wrong"}, {"the right one without Bearer", testToken}, {"the right one as Basic", "Basic " + testToken},
		{"the right one and more", "Bearer " + testToken + "0"}, {"a part of the right one", "Bearer " + testToken[:31]}, {"Bearer and nothing", "Bearer "},
	} {
		all = append(all, mistake{what: c[0], method: submit, body: `{"task":{` + exec + `}}`, header: []string{"Authorization", c[1]}, token: true})
	}
	for _, p := range []string{"Connect proto", "gRPC", "gRPC-Web", "Connect stream"} {
		method := submit
		if p == "Connect stream" {
			method = "TaskService/WatchTasks"
		}
		all = append(all, mistake{what: "a wrong one", method: method, body: `{}`, header: []string{"Authorization", "Bearer wrong"}, token: true, proto: p})
	}
	for _, path := range []string{"/metrics", "/", "/tasks", "/raft/member"} {
		all = append(all, mistake{what: "none, for " + path, method: "GET", verb: http.MethodGet, path: path, token: true, plain: true})
	}
	return grouped("Tokens", all)
}
