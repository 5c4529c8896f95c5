-- Is task_input_insert for a task that has a trace context. From schema version 2 on.
INSERT INTO task_inputs (seq, exec, function, payload, traceparent, tracestate) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
