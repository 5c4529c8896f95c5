-- Devices of a node, from a JSON array of {index, model, memory_bytes}.
INSERT INTO node_gpus (node_id, device_index, model, memory_bytes)
SELECT ?1, value ->> 'index', value ->> 'model', value ->> 'memory_bytes' FROM json_each(?2) ORDER BY 2
