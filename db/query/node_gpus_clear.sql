-- Forgets the devices of a node that are not in a JSON array of {index, …}. Primary key.
DELETE FROM node_gpus WHERE node_id = ?1 AND device_index NOT IN (SELECT value ->> 'index' FROM json_each(?2))
