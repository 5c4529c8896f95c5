-- Registers a node or a new session of it, unless that session was replaced before.
INSERT INTO nodes (id, session_id, status, slots, cpu_millis, memory_bytes, disk_bytes, gpus, custom, exec, functions, labels,
                   provider, region, zone, instance_type, version, spot, price_micros_per_hour,
                   create_time_ms, heartbeat_time_ms)
SELECT ?1, ?2, 'HEALTHY', ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?19
WHERE NOT EXISTS (SELECT 1 FROM node_sessions WHERE session_id = ?2)
ON CONFLICT (id) DO UPDATE SET
  terminating_time_ms = iif(session_id = excluded.session_id, terminating_time_ms, NULL),
  polling = iif(session_id = excluded.session_id, polling, 0), session_id = excluded.session_id, status = 'HEALTHY', renewal = renewal + 1, slots = excluded.slots,
  cpu_millis = excluded.cpu_millis, memory_bytes = excluded.memory_bytes,
  disk_bytes = excluded.disk_bytes, gpus = excluded.gpus, custom = excluded.custom,
  exec = excluded.exec, functions = excluded.functions, labels = excluded.labels, provider = excluded.provider,
  region = excluded.region, zone = excluded.zone, instance_type = excluded.instance_type,
  version = excluded.version, spot = excluded.spot, price_micros_per_hour = excluded.price_micros_per_hour,
  heartbeat_time_ms = excluded.heartbeat_time_ms
