// Questions to begin with.

export const examples: { name: string; sql: string }[] = [
  { name: "How many tasks of each status?", sql: "SELECT status, count(*) AS tasks FROM tasks GROUP BY status ORDER BY tasks DESC" },
  { name: "How do the queues share the nodes?", sql: "SELECT name, weight, dominant_share_millionths / 1e4 AS percent, running_tasks, pending_tasks, paused\nFROM v_queues ORDER BY name" },
  { name: "What went wrong lately?", sql: "SELECT datetime(end_time_ms / 1000, 'unixepoch') AS at, task_id, attempt, node_id, status, exit_code, error\nFROM v_recent_failures LIMIT 100" },
  { name: "Which node makes tasks fail?", sql: "SELECT node_id, count(*) AS failures, count(DISTINCT task_id) AS tasks\nFROM v_recent_failures GROUP BY node_id ORDER BY failures DESC" },
  { name: "How full is each node?", sql: "SELECT node_id, status, running_tasks, slots, round(100.0 * reserved_cpu_millis / nullif(cpu_millis, 0), 1) AS cpu_percent,\n       round(100.0 * reserved_memory_bytes / nullif(memory_bytes, 0), 1) AS memory_percent, reserved_gpus, gpus\nFROM v_node_load ORDER BY node_id" },
  { name: "Which tasks have waited longest?", sql: "SELECT t.id, t.name, t.queue, t.priority, round(unixepoch('subsec') - t.create_time_ms / 1000.0, 1) AS waited_s, c.cpu_millis, c.memory_bytes, c.gpus\nFROM tasks t JOIN task_classes c ON c.id = t.class_id\nWHERE t.status = 'PENDING' ORDER BY t.create_time_ms LIMIT 100" },
  { name: "Which GPUs are free?", sql: "SELECT g.node_id, g.device_index, g.model, round(g.memory_bytes / 1073741824.0, 1) AS memory_gib\nFROM node_gpus g JOIN nodes n ON n.id = g.node_id\nWHERE g.task_seq IS NULL AND n.status = 'HEALTHY' AND n.schedulable" },
  { name: "How long do tasks of a name take?", sql: "SELECT name, count(*) AS tasks, round(avg(end_time_ms - start_time_ms) / 1000, 2) AS mean_s, max(end_time_ms - start_time_ms) / 1000.0 AS longest_s\nFROM tasks WHERE status = 'COMPLETED' GROUP BY name ORDER BY tasks DESC LIMIT 100" },
  { name: "How much was done in each hour?", sql: "SELECT strftime('%m-%d %H:00', end_time_ms / 1000, 'unixepoch') AS hour, count(*) FILTER (WHERE status = 'COMPLETED') AS completed,\n       count(*) FILTER (WHERE status = 'FAILED') AS failed\nFROM tasks WHERE end_time_ms > (unixepoch() - 86400) * 1000 GROUP BY hour ORDER BY hour" },
  { name: "What do the machines that are up cost?", sql: "SELECT provider, region, count(*) AS nodes, sum(price_micros_per_hour) / 1e6 AS usd_per_hour\nFROM nodes WHERE status = 'HEALTHY' GROUP BY provider, region" },
  { name: "What changed last?", sql: "SELECT datetime(time_ms / 1000, 'unixepoch') AS at, type, task_id, attempt, node_id, reason\nFROM events ORDER BY log_index DESC, ordinal DESC LIMIT 100" },
];
