-- The nodes that may take a task of the class ?1, first where the part of the node that
-- it takes costs least, those in a region that it prefers before others: the placement
-- CHEAPEST. That cost is the price of the node times the largest share of its slots,
-- CPU, memory, disk or GPUs that the task reserves, in units of 1/2^20. The load, then
-- measured CPU, then memory, then the id break ties.
SELECT node_id, load FROM (
  SELECT v.node_id, v.load, v.preferred, v.used_cpu_millis, v.used_memory_bytes,
         n.price_micros_per_hour * (max(
           4503599627370496 / n.slots,
           c.cpu_millis * (4503599627370496 / max(n.cpu_millis, 1)),
           c.memory_bytes * (4503599627370496 / max(n.memory_bytes, 1)),
           c.disk_bytes * (4503599627370496 / max(n.disk_bytes, 1)),
           c.gpus * (4503599627370496 / max(n.gpus, 1))) >> 32) AS cost
  FROM v_candidates v JOIN nodes n ON n.id = v.node_id JOIN task_classes c ON c.id = v.class_id
  WHERE v.class_id = 0 + ?1
)
ORDER BY preferred DESC, cost, load, used_cpu_millis, used_memory_bytes, node_id LIMIT 0 + ?2
