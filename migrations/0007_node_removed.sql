-- Nodes that are gone can be forgotten: the view of changes has a name for it.
DROP VIEW events;

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
         WHEN 'E' THEN 'NODE_EXPIRED'     WHEN 'B' THEN 'NODE_BACK'             WHEN 'D' THEN 'NODE_REMOVED'
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
