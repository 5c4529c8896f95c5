-- Forgets the former sessions of a node. All of them are looked through: few nodes have any.
DELETE FROM node_sessions WHERE node_id = ?1
