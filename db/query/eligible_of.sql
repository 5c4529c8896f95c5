-- What v_eligible says of the class ?1 and the node ?2, both as JSON since neither need
-- be in the state yet; ?3 is the node's id. Tables of one row stand in for those that
-- the views are made of: before this is run, the text of each view is put in as one
-- more of them. Last, the devices that the class may be given, the smallest first.
WITH task_classes (id, gpus, function, constraints) AS (
  SELECT 0, ?1 ->> 'gpus', ?1 ->> 'function', ?1 -> 'constraints'
), nodes (id, exec, functions, labels, provider, region, zone, instance_type, spot, price_micros_per_hour) AS (
  SELECT ?3, ?2 ->> 'exec', ?2 -> 'functions', ?2 -> 'labels', ?2 ->> 'provider', ?2 ->> 'region', ?2 ->> 'zone',
         ?2 ->> 'instance_type', ?2 ->> 'spot', ?2 ->> 'price_micros_per_hour'
), node_gpus (node_id, device_index, model, memory_bytes, task_seq) AS (
  SELECT ?3, value ->> 'index', value ->> 'model', value ->> 'memory_bytes', NULL FROM json_each(?2, '$.gpu_devices')
)
SELECT node_fits, work_fits, provider_fits, region_fits, zone_fits, instance_type_fits, labels_fit, spot_fits, price_fits, gpus_fit,
       preferred, eligible,
       (SELECT json_group_array(device_index) FROM (SELECT device_index FROM v_eligible_gpus ORDER BY memory_bytes, device_index)) AS devices
FROM v_eligible WHERE class_id = 0
