-- The nodes that may take a task of the class ?1, the least loaded first.
--
-- A node's load is the largest share of any resource that is reserved on it once
-- the task is there, in units of 1/2^52: at most 2^52 means that it fits. Measured
-- CPU, then memory, then the id break ties. Integers only: every member and the
-- scheduler's own re-scoring come to the same number.
SELECT node_id, load FROM (
  SELECT n.node_id, n.used_cpu_millis, n.used_memory_bytes,
         max((n.running_tasks + 1) * (4503599627370496 / n.slots),
             iif(c.cpu_millis = 0, 0, (n.reserved_cpu_millis + c.cpu_millis) * (4503599627370496 / max(n.cpu_millis, 1))),
             iif(c.memory_bytes = 0, 0, (n.reserved_memory_bytes + c.memory_bytes) * (4503599627370496 / max(n.memory_bytes, 1))),
             iif(c.gpus = 0, 0, (n.reserved_gpus + c.gpus) * (4503599627370496 / max(n.gpus, 1)))) AS load
  FROM v_node_load n JOIN task_classes c ON c.id = ?1
  WHERE n.status = 'HEALTHY' AND n.schedulable = 1
    AND n.running_tasks < n.slots
    AND n.reserved_cpu_millis + c.cpu_millis <= n.cpu_millis
    AND n.reserved_memory_bytes + c.memory_bytes <= n.memory_bytes
    AND n.reserved_gpus + c.gpus <= n.gpus
    AND iif(c.function = '', n.exec, EXISTS (SELECT 1 FROM json_each(n.functions) WHERE value = c.function))
)
ORDER BY load, used_cpu_millis, used_memory_bytes, node_id LIMIT 0 + ?2
