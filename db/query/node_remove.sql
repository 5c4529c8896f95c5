-- Forgets a node that is not heard and holds nothing, unless it was renewed after the
-- renewal ?2; with ?3 = 1 none that is cordoned. Indexes: nodes' key, tasks_on_node.
DELETE FROM nodes
WHERE id = ?1 AND renewal = ?2 AND schedulable >= ?3 AND status <> 'HEALTHY'
  AND NOT EXISTS (SELECT 1 FROM tasks t WHERE t.node_id = nodes.id AND t.status IN ('ASSIGNED', 'RUNNING'))
