-- Devices of a node, from a JSON array of {index, model, memory_bytes, uuid}. One that
-- it has already keeps its holder.
INSERT INTO node_gpus (node_id, device_index, model, memory_bytes, uuid)
SELECT ?1, value ->> 'index', value ->> 'model', value ->> 'memory_bytes', value ->> 'uuid' FROM json_each(?2) WHERE true ORDER BY 2
ON CONFLICT (node_id, device_index) DO UPDATE
SET model = excluded.model, memory_bytes = excluded.memory_bytes, uuid = excluded.uuid
