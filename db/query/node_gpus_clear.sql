-- Forgets the devices of a node that registers anew.
DELETE FROM node_gpus WHERE node_id = ?1
