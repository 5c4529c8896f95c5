-- The span that submitted a task, as W3C Trace Context has it. Of most tasks there is none.
ALTER TABLE task_inputs ADD COLUMN traceparent TEXT;
ALTER TABLE task_inputs ADD COLUMN tracestate TEXT;
