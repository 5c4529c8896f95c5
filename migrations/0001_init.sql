-- The state of the control plane: tasks, nodes, and what happened to them.
--
-- Times are Unix milliseconds by the leader's clock, bound by the leader: no
-- statement reads a clock. Statuses are stored as their names. Every index costs
-- each task a write; what it serves stands beside it.

CREATE TABLE tasks (
  seq               INTEGER PRIMARY KEY,        -- rises with each submission; given by the leader
  id                TEXT    NOT NULL UNIQUE,
  request_id        TEXT,                       -- idempotency key beside the id
  name              TEXT,
  queue             TEXT    NOT NULL,
  priority          INTEGER NOT NULL,
  labels            TEXT,                       -- JSON object
  class_id          INTEGER NOT NULL,           -- what it needs: task_classes.id
  timeout_ms        INTEGER,
  max_attempts      INTEGER NOT NULL,
  max_lost_attempts INTEGER NOT NULL,
  status            TEXT    NOT NULL,           -- PENDING ASSIGNED RUNNING COMPLETED FAILED CANCELLED
  node_id           TEXT,                       -- node of the present or last attempt
  attempt           INTEGER NOT NULL,           -- fencing token: rises with each assignment
  failed_attempts   INTEGER NOT NULL DEFAULT 0,
  lost_attempts     INTEGER NOT NULL DEFAULT 0,
  cancel_requested  INTEGER NOT NULL DEFAULT 0,
  gpu_devices       TEXT,                       -- JSON array of device indexes
  create_time_ms    INTEGER NOT NULL,
  assign_time_ms    INTEGER,
  start_time_ms     INTEGER,
  end_time_ms       INTEGER,
  retry_time_ms     INTEGER,                    -- set while PENDING and not yet due: it waits for its start or a retry
  exit_code         INTEGER,
  error             TEXT,
  earliest_start_ms INTEGER,                    -- not placed before
  queue_timeout_ms  INTEGER,                    -- how long it may wait for its first start
  queue_deadline_ms INTEGER,                    -- until when; set until it is fetched
  retry_policy      TEXT,                       -- JSON; NULL for the default
  concurrency_key   TEXT,                       -- of the tasks with one key only so many hold nodes
  max_concurrency   INTEGER
) STRICT;

-- Heads of the queues, one ordered stream for each queue, class and concurrency.
CREATE INDEX tasks_pending ON tasks (queue, class_id, concurrency_key, max_concurrency, priority DESC, seq)
  WHERE status = 'PENDING' AND retry_time_ms IS NULL;

-- What may wait for its start only so long.
CREATE INDEX tasks_deadline ON tasks (queue_deadline_ms) WHERE status = 'PENDING' AND queue_deadline_ms IS NOT NULL;

-- What a node holds.
CREATE INDEX tasks_on_node ON tasks (node_id) WHERE status IN ('ASSIGNED', 'RUNNING');

-- What waits for its start or its next attempt.
CREATE INDEX tasks_retry ON tasks (retry_time_ms) WHERE retry_time_ms IS NOT NULL;

-- Idempotency of submissions that give a key beside the id; empty otherwise.
CREATE UNIQUE INDEX tasks_request ON tasks (request_id) WHERE request_id IS NOT NULL;

-- What a task does. Beside its row, because an update writes the whole row anew.
CREATE TABLE task_inputs (
  seq      INTEGER PRIMARY KEY,
  exec     TEXT,                                -- JSON: command, env, working_dir
  function TEXT,
  payload  BLOB
) STRICT;

-- What its last attempt left, if it left anything.
CREATE TABLE task_outputs (
  seq      INTEGER PRIMARY KEY,
  result   BLOB,
  log_tail TEXT
) STRICT;

-- Attempts before the last one; the last stands in the task's row.
CREATE TABLE past_attempts (
  seq            INTEGER NOT NULL,
  attempt        INTEGER NOT NULL,
  node_id        TEXT,
  status         TEXT    NOT NULL,              -- FAILED LOST RELEASED CANCELLED
  assign_time_ms INTEGER,
  start_time_ms  INTEGER,
  end_time_ms    INTEGER,
  exit_code      INTEGER,
  error          TEXT,
  log_tail       TEXT,
  PRIMARY KEY (seq, attempt)
) STRICT, WITHOUT ROWID;

-- Tasks in the order in which they ended: what retention goes by.
CREATE TABLE task_ends (
  number INTEGER PRIMARY KEY,
  seq    INTEGER NOT NULL
) STRICT;

-- However a task ends, it is noted here.
CREATE TRIGGER task_ended AFTER UPDATE OF end_time_ms ON tasks
WHEN new.end_time_ms IS NOT NULL AND old.end_time_ms IS NULL
BEGIN
  INSERT INTO task_ends (seq) VALUES (new.seq);
END;

-- Deleted tasks of which changes in event_log still tell.
CREATE TABLE pruned_tasks (
  seq         INTEGER PRIMARY KEY,
  id          TEXT    NOT NULL,
  queue       TEXT    NOT NULL,
  end_time_ms INTEGER NOT NULL
) STRICT;

-- Those of which no change tells any more.
CREATE INDEX pruned_tasks_ended ON pruned_tasks (end_time_ms);

-- The highest seq that a deleted task had, as none may return. One row.
CREATE TABLE task_floor (
  id  INTEGER PRIMARY KEY CHECK (id = 1),
  seq INTEGER NOT NULL
) STRICT;
INSERT INTO task_floor (id, seq) VALUES (1, 0);

-- Distinct sets of requirements.
CREATE TABLE task_classes (
  id           INTEGER PRIMARY KEY,
  cpu_millis   INTEGER NOT NULL,
  memory_bytes INTEGER NOT NULL,
  disk_bytes   INTEGER NOT NULL,
  gpus         INTEGER NOT NULL,
  custom       TEXT    NOT NULL,                -- JSON object: how many of what, by name
  function     TEXT    NOT NULL,                -- '' for exec tasks
  constraints  TEXT    NOT NULL,                -- JSON object, as of v_eligible
  UNIQUE (cpu_millis, memory_bytes, disk_bytes, gpus, custom, function, constraints)
) STRICT;

-- Settings of queues. A queue may have none: then the defaults hold. A NULL limit
-- does not bound.
CREATE TABLE queues (
  name               TEXT    PRIMARY KEY,
  weight             INTEGER NOT NULL,
  paused             INTEGER NOT NULL,
  max_tasks          INTEGER,
  max_cpu_millis     INTEGER,
  max_memory_bytes   INTEGER,
  max_gpus           INTEGER,
  placement          TEXT    NOT NULL,          -- SPREAD BINPACK CHEAPEST
  ageing_interval_ms INTEGER,                   -- a waiting task gains one priority in it
  create_time_ms     INTEGER NOT NULL,
  update_time_ms     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO queues (name, weight, paused, placement, create_time_ms, update_time_ms) VALUES ('default', 1, 0, 'SPREAD', 0, 0);

CREATE TABLE nodes (
  id                    TEXT    PRIMARY KEY,
  session_id            TEXT    NOT NULL,
  status                TEXT    NOT NULL,       -- HEALTHY UNHEALTHY UNKNOWN
  schedulable           INTEGER NOT NULL DEFAULT 1,
  renewal               INTEGER NOT NULL DEFAULT 1, -- counts renewals of the lease
  slots                 INTEGER NOT NULL,
  cpu_millis            INTEGER NOT NULL,
  memory_bytes          INTEGER NOT NULL,
  disk_bytes            INTEGER NOT NULL,
  gpus                  INTEGER NOT NULL,
  custom                TEXT,                   -- JSON object: how many of what, by name
  exec                  INTEGER NOT NULL,
  functions             TEXT,                   -- JSON array
  labels                TEXT,                   -- JSON object
  provider              TEXT,
  region                TEXT,
  zone                  TEXT,
  instance_type         TEXT,
  version               TEXT,
  spot                  INTEGER NOT NULL,
  price_micros_per_hour INTEGER NOT NULL,       -- millionths of a US dollar
  used_cpu_millis       INTEGER NOT NULL DEFAULT 0, -- measured, not reserved
  used_memory_bytes     INTEGER NOT NULL DEFAULT 0,
  used_tasks            INTEGER NOT NULL DEFAULT 0,
  polling               INTEGER NOT NULL DEFAULT 0, -- it asks for work, or did when it last had a free slot
  drain_time_ms         INTEGER,                -- set from the start of a drain until the node is uncordoned
  drain_deadline_time_ms INTEGER,               -- NULL: as long as it takes
  drain_tasks           INTEGER,                -- held at the start of the drain
  terminating_time_ms   INTEGER,                -- the machine is taken away then
  lapses                INTEGER NOT NULL DEFAULT 0, -- of its lease, each soon after the one before
  lapse_time_ms         INTEGER,                -- the last of them
  probation_end_time_ms INTEGER,                -- set while it is held back for them
  create_time_ms        INTEGER NOT NULL,
  heartbeat_time_ms     INTEGER NOT NULL
) STRICT;

-- Sessions that were replaced and may not come back.
CREATE TABLE node_sessions (
  session_id       TEXT PRIMARY KEY,
  node_id          TEXT    NOT NULL,
  replaced_time_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Devices. One holder each, by construction.
CREATE TABLE node_gpus (
  node_id      TEXT    NOT NULL,
  device_index INTEGER NOT NULL,
  model        TEXT    NOT NULL,
  memory_bytes INTEGER NOT NULL,
  uuid         TEXT,                            -- by which CUDA names it if not by its index
  task_seq     INTEGER,
  PRIMARY KEY (node_id, device_index)
) STRICT, WITHOUT ROWID;

-- One row for each log entry that changed tasks or nodes; body is a JSON array of
-- changes, each [kind, task seq, attempt, node, reason], with seq 0 for a node. The
-- view events spells it out; its (log_index, ordinal) is the cursor behind the change.
CREATE TABLE event_log (
  log_index INTEGER PRIMARY KEY,
  time_ms   INTEGER NOT NULL,
  body      TEXT    NOT NULL
) STRICT;

-- The cursor behind the last change that is no longer kept. One row.
CREATE TABLE event_floor (
  id        INTEGER PRIMARY KEY CHECK (id = 1),
  log_index INTEGER NOT NULL,
  ordinal   INTEGER NOT NULL
) STRICT;
INSERT INTO event_floor (id, log_index, ordinal) VALUES (1, 0, 0);

-- Every change of a task or a node, in the order of (log_index, ordinal). For a node,
-- task_id and task_seq are NULL and status is the node's. Of a task that was deleted
-- the id is kept for as long as its changes.
CREATE VIEW events AS
SELECT e.log_index, j.key + 1 AS ordinal, e.time_ms,
       CASE j.value ->> 0
         WHEN 'S' THEN 'TASK_SUBMITTED'   WHEN 'A' THEN 'TASK_ASSIGNED'         WHEN 'R' THEN 'TASK_STARTED'
         WHEN 'Q' THEN 'TASK_REQUEUED'    WHEN 'K' THEN 'TASK_CANCEL_REQUESTED' WHEN 'C' THEN 'TASK_COMPLETED'
         WHEN 'F' THEN 'TASK_FAILED'      WHEN 'X' THEN 'TASK_CANCELLED'
         WHEN 'N' THEN 'NODE_REGISTERED'  WHEN 'U' THEN 'NODE_UPDATED'          WHEN 'P' THEN 'NODE_SESSION_REPLACED'
         WHEN 'E' THEN 'NODE_EXPIRED'     WHEN 'B' THEN 'NODE_BACK'
         WHEN 'O' THEN 'NODE_SCHEDULING_CHANGED'
       END AS type,
       coalesce(t.id, p.id) AS task_id,
       CASE
         WHEN j.value ->> 0 IN ('S', 'Q')           THEN 'PENDING'
         WHEN j.value ->> 0 = 'A'                   THEN 'ASSIGNED'
         WHEN j.value ->> 0 IN ('R', 'K')           THEN 'RUNNING'
         WHEN j.value ->> 0 = 'C'                   THEN 'COMPLETED'
         WHEN j.value ->> 0 = 'F'                   THEN 'FAILED'
         WHEN j.value ->> 0 = 'X'                   THEN 'CANCELLED'
         WHEN j.value ->> 0 IN ('N', 'U', 'P', 'B') THEN 'HEALTHY'
         WHEN j.value ->> 0 = 'E'                   THEN 'UNHEALTHY'
       END AS status,
       coalesce(j.value ->> 2, 0) AS attempt, nullif(j.value ->> 3, '') AS node_id, j.value ->> 4 AS reason,
       nullif(j.value ->> 1, 0) AS task_seq
FROM event_log e, json_each(e.body) j LEFT JOIN tasks t ON t.seq = j.value ->> 1
LEFT JOIN pruned_tasks p ON p.seq = j.value ->> 1;

CREATE VIEW attempts AS
SELECT t.id AS task_id, p.attempt, p.node_id, p.status, p.assign_time_ms, p.start_time_ms, p.end_time_ms,
       p.exit_code, p.error, p.log_tail, p.seq AS task_seq
FROM past_attempts p JOIN tasks t ON t.seq = p.seq
UNION ALL
SELECT t.id, t.attempt, t.node_id, t.status, t.assign_time_ms, t.start_time_ms, t.end_time_ms,
       t.exit_code, t.error, o.log_tail, t.seq
FROM tasks t LEFT JOIN task_outputs o ON o.seq = t.seq
WHERE t.attempt > 0 AND t.status <> 'PENDING'
  AND NOT EXISTS (SELECT 1 FROM past_attempts p WHERE p.seq = t.seq AND p.attempt = t.attempt);

-- What the tasks of each node reserve. Derived, so that it cannot drift.
CREATE VIEW v_node_load AS
SELECT n.id AS node_id, n.status, n.schedulable AND n.terminating_time_ms IS NULL AND n.probation_end_time_ms IS NULL AS schedulable, n.slots, n.cpu_millis, n.memory_bytes, n.disk_bytes, n.gpus, n.custom,
       count(t.seq) AS running_tasks,
       coalesce(sum(c.cpu_millis), 0) AS reserved_cpu_millis,
       coalesce(sum(c.memory_bytes), 0) AS reserved_memory_bytes,
       coalesce(sum(c.disk_bytes), 0) AS reserved_disk_bytes,
       coalesce(sum(c.gpus), 0) AS reserved_gpus,
       n.used_cpu_millis, n.used_memory_bytes, n.exec, n.functions
FROM nodes n
LEFT JOIN tasks t ON t.node_id = n.id AND t.status IN ('ASSIGNED', 'RUNNING')
LEFT JOIN task_classes c ON c.id = t.class_id
GROUP BY n.id;

-- The devices that the tasks of a class may be given. A model matches by whole words.
CREATE VIEW v_eligible_gpus AS
SELECT c.id AS class_id, g.node_id, g.device_index, g.memory_bytes, g.task_seq
FROM task_classes c, node_gpus g
WHERE g.memory_bytes >= coalesce(c.constraints ->> 'min_gpu_memory_bytes', 0)
  AND (c.constraints -> 'gpu_models' IS NULL OR EXISTS (
    SELECT 1 FROM json_each(c.constraints, '$.gpu_models') m
    WHERE instr(' ' || lower(replace(g.model, '-', ' ')) || ' ', ' ' || lower(replace(m.value, '-', ' ')) || ' ') > 0));

-- Which nodes will do for the tasks of a class, whatever room they have now: one
-- column for each condition, 1 if it is met. The one place where constraints are
-- looked at: the leader runs this text also on classes and nodes that are not in the
-- state yet.
CREATE VIEW v_eligible AS
SELECT *, node_fits AND work_fits AND provider_fits AND region_fits AND zone_fits AND instance_type_fits
          AND labels_fit AND spot_fits AND price_fits AND gpus_fit AS eligible
FROM (
  SELECT c.id AS class_id, n.id AS node_id,
         coalesce(c.constraints ->> 'node_id' = n.id, 1) AS node_fits,
         iif(c.function = '', n.exec, EXISTS (SELECT 1 FROM json_each(n.functions) WHERE value = c.function)) AS work_fits,
         c.constraints -> 'providers' IS NULL
           OR coalesce(n.provider, '') IN (SELECT value FROM json_each(c.constraints, '$.providers')) AS provider_fits,
         c.constraints -> 'regions' IS NULL
           OR coalesce(n.region, '') IN (SELECT value FROM json_each(c.constraints, '$.regions')) AS region_fits,
         c.constraints -> 'zones' IS NULL
           OR coalesce(n.zone, '') IN (SELECT value FROM json_each(c.constraints, '$.zones')) AS zone_fits,
         c.constraints -> 'instance_types' IS NULL
           OR coalesce(n.instance_type, '') IN (SELECT value FROM json_each(c.constraints, '$.instance_types')) AS instance_type_fits,
         NOT EXISTS (
           SELECT 1 FROM json_each(c.constraints, '$.labels') s
           WHERE NOT CASE s.value ->> 'operator'
             WHEN 'IN' THEN EXISTS (
               SELECT 1 FROM json_each(n.labels) l, json_each(s.value, '$.values') v
               WHERE l.key = s.value ->> 'key' AND l.value = v.value)
             WHEN 'NOT_IN' THEN NOT EXISTS (
               SELECT 1 FROM json_each(n.labels) l, json_each(s.value, '$.values') v
               WHERE l.key = s.value ->> 'key' AND l.value = v.value)
             WHEN 'EXISTS' THEN EXISTS (SELECT 1 FROM json_each(n.labels) l WHERE l.key = s.value ->> 'key')
             WHEN 'DOES_NOT_EXIST' THEN NOT EXISTS (SELECT 1 FROM json_each(n.labels) l WHERE l.key = s.value ->> 'key')
             WHEN 'GREATER_THAN' THEN EXISTS (
               SELECT 1 FROM json_each(n.labels) l, json_each(s.value, '$.values') v
               WHERE l.key = s.value ->> 'key' AND CAST(CAST(l.value AS INTEGER) AS TEXT) = l.value
                 AND CAST(l.value AS INTEGER) > CAST(v.value AS INTEGER))
             ELSE 0 END) AS labels_fit,
         CASE c.constraints ->> 'spot' WHEN 'ONLY' THEN n.spot WHEN 'NEVER' THEN NOT n.spot ELSE 1 END AS spot_fits,
         c.constraints -> 'max_price_micros_per_hour' IS NULL
           OR n.price_micros_per_hour BETWEEN 1 AND c.constraints ->> 'max_price_micros_per_hour' AS price_fits,
         c.gpus <= (SELECT count(*) FROM v_eligible_gpus g WHERE g.class_id = c.id AND g.node_id = n.id) AS gpus_fit,
         c.constraints -> 'preferred_regions' IS NULL
           OR coalesce(n.region, '') IN (SELECT value FROM json_each(c.constraints, '$.preferred_regions')) AS preferred
  FROM task_classes c, nodes n
);

-- The nodes that would take a task of a class now, each with the load that it would
-- have: the largest share of any resource that is reserved on it once the task is
-- there, in units of 1/2^52, at most 2^52 if it fits. Integers only: every member and
-- the scheduler's own re-scoring come to the same number. A node that has less than
-- its tasks reserve takes nothing.
CREATE VIEW v_candidates AS
SELECT c.id AS class_id, n.node_id, e.preferred, n.used_cpu_millis, n.used_memory_bytes,
       max((n.running_tasks + 1) * (4503599627370496 / n.slots),
           iif(c.cpu_millis = 0, 0, (n.reserved_cpu_millis + c.cpu_millis) * (4503599627370496 / max(n.cpu_millis, 1))),
           iif(c.memory_bytes = 0, 0, (n.reserved_memory_bytes + c.memory_bytes) * (4503599627370496 / max(n.memory_bytes, 1))),
           iif(c.disk_bytes = 0, 0, (n.reserved_disk_bytes + c.disk_bytes) * (4503599627370496 / max(n.disk_bytes, 1))),
           iif(c.gpus = 0, 0, (n.reserved_gpus + c.gpus) * (4503599627370496 / max(n.gpus, 1))),
           coalesce((
             SELECT max((w.value + (
                 SELECT coalesce(sum(j.value), 0)
                 FROM tasks t JOIN task_classes h ON h.id = t.class_id, json_each(h.custom) j
                 WHERE t.node_id = n.node_id AND t.status IN ('ASSIGNED', 'RUNNING') AND j.key = w.key
               )) * (4503599627370496 / max((SELECT value FROM json_each(n.custom) WHERE key = w.key), 1)))
             FROM json_each(c.custom) w), 0)) AS load
FROM task_classes c, v_node_load n, v_eligible e
WHERE e.class_id = c.id AND e.node_id = n.node_id AND e.eligible
  AND n.status = 'HEALTHY' AND n.schedulable = 1
  AND n.running_tasks < n.slots
  AND n.reserved_cpu_millis + c.cpu_millis <= n.cpu_millis
  AND n.reserved_memory_bytes + c.memory_bytes <= n.memory_bytes
  AND n.reserved_disk_bytes + c.disk_bytes <= n.disk_bytes
  AND n.reserved_gpus + c.gpus <= n.gpus
  AND (c.gpus = 0 OR c.gpus <= (
    SELECT count(*) FROM v_eligible_gpus g WHERE g.class_id = c.id AND g.node_id = n.node_id AND g.task_seq IS NULL))
  AND NOT EXISTS (
    SELECT 1 FROM (
      SELECT key AS name, sum(value) AS needed FROM (
        SELECT j.key, j.value
        FROM tasks t JOIN task_classes h ON h.id = t.class_id, json_each(h.custom) j
        WHERE t.node_id = n.node_id AND t.status IN ('ASSIGNED', 'RUNNING')
        UNION ALL
        SELECT key, value FROM json_each(c.custom)
      ) GROUP BY key)
    WHERE needed > coalesce((SELECT value FROM json_each(n.custom) WHERE key = name), 0));

CREATE VIEW v_queue_depth AS
SELECT queue, status, count(*) AS tasks, min(create_time_ms) AS oldest_create_time_ms
FROM tasks WHERE status IN ('PENDING', 'ASSIGNED', 'RUNNING') GROUP BY queue, status;

-- How many tasks of each status each queue holds. It counts every task that is kept.
CREATE VIEW v_queue_counts AS
SELECT queue AS name, count(*) AS tasks,
       count(*) FILTER (WHERE status = 'PENDING') AS pending,
       count(*) FILTER (WHERE status = 'ASSIGNED') AS assigned,
       count(*) FILTER (WHERE status = 'RUNNING') AS running,
       count(*) FILTER (WHERE status = 'COMPLETED') AS completed,
       count(*) FILTER (WHERE status = 'FAILED') AS failed,
       count(*) FILTER (WHERE status = 'CANCELLED') AS cancelled
FROM tasks GROUP BY queue;

-- The queues that have settings or live tasks, with what their tasks hold. The
-- dominant share is the largest part of any resource of the healthy nodes.
CREATE VIEW v_queues AS
WITH fleet AS (
  SELECT max(sum(slots), 1) AS slots, max(sum(cpu_millis), 1) AS cpu_millis, max(sum(memory_bytes), 1) AS memory_bytes,
         max(sum(disk_bytes), 1) AS disk_bytes, max(sum(gpus), 1) AS gpus
  FROM nodes WHERE status = 'HEALTHY'
), held AS (
  SELECT t.queue, count(*) AS tasks, sum(c.cpu_millis) AS cpu_millis, sum(c.memory_bytes) AS memory_bytes, sum(c.disk_bytes) AS disk_bytes, sum(c.gpus) AS gpus
  FROM tasks t INDEXED BY tasks_on_node JOIN task_classes c ON c.id = t.class_id
  WHERE t.status IN ('ASSIGNED', 'RUNNING') GROUP BY t.queue
), waiting AS (
  SELECT queue, sum(tasks) AS tasks FROM (
    SELECT queue, count(*) AS tasks FROM tasks INDEXED BY tasks_pending WHERE status = 'PENDING' AND retry_time_ms IS NULL GROUP BY queue
    UNION ALL
    SELECT queue, count(*) FROM tasks INDEXED BY tasks_retry WHERE retry_time_ms IS NOT NULL GROUP BY queue)
  GROUP BY queue
)
SELECT n.name, coalesce(q.weight, 1) AS weight, coalesce(q.paused, 0) AS paused,
       q.max_tasks, q.max_cpu_millis, q.max_memory_bytes, q.max_gpus,
       coalesce(q.placement, 'SPREAD') AS placement, q.ageing_interval_ms, q.name IS NULL AS implicit,
       coalesce(w.tasks, 0) AS pending_tasks, coalesce(h.tasks, 0) AS running_tasks,
       coalesce(h.cpu_millis, 0) AS used_cpu_millis, coalesce(h.memory_bytes, 0) AS used_memory_bytes, coalesce(h.gpus, 0) AS used_gpus,
       coalesce(CAST(1e6 * max(1.0 * h.tasks / f.slots, 1.0 * h.cpu_millis / f.cpu_millis, 1.0 * h.memory_bytes / f.memory_bytes, 1.0 * h.disk_bytes / f.disk_bytes,
         1.0 * h.gpus / f.gpus) AS INTEGER), 0)
         AS dominant_share_millionths,
       q.create_time_ms, q.update_time_ms
FROM (SELECT name FROM queues UNION SELECT queue FROM held UNION SELECT queue FROM waiting) n
JOIN fleet f
LEFT JOIN queues q ON q.name = n.name LEFT JOIN held h ON h.queue = n.name LEFT JOIN waiting w ON w.queue = n.name;

-- The last 1,000 attempts that failed or were lost with their node, newest first;
-- final is 1 if the task failed for good with it.
CREATE VIEW v_recent_failures AS
SELECT f.end_time_ms, t.id AS task_id, t.name, t.queue, f.attempt, f.node_id, f.status, f.exit_code, f.error,
       t.status = 'FAILED' AND t.attempt = f.attempt AS final
FROM (
  SELECT seq, attempt, node_id, status, end_time_ms, exit_code, error
  FROM past_attempts WHERE status IN ('FAILED', 'LOST')
  UNION ALL
  SELECT seq, attempt, node_id, status, end_time_ms, exit_code, error
  FROM tasks t WHERE status = 'FAILED'
    AND NOT EXISTS (SELECT 1 FROM past_attempts p WHERE p.seq = t.seq AND p.attempt = t.attempt)
) f JOIN tasks t ON t.seq = f.seq
ORDER BY f.end_time_ms DESC, f.seq DESC, f.attempt DESC
LIMIT 1000;
