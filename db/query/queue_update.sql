-- Changes those settings of a queue whose bit is set in ?11. Primary key.
UPDATE queues
SET weight = iif(?11 & 1, ?2, weight), paused = iif(?11 & 2, ?3, paused),
    max_tasks = iif(?11 & 4, ?4, max_tasks), max_cpu_millis = iif(?11 & 8, ?5, max_cpu_millis),
    max_memory_bytes = iif(?11 & 16, ?6, max_memory_bytes), max_gpus = iif(?11 & 32, ?7, max_gpus),
    placement = iif(?11 & 64, ?8, placement), ageing_interval_ms = iif(?11 & 128, ?9, ageing_interval_ms),
    /*+*/max_disk_bytes = iif(?11 & 256, ?12, max_disk_bytes), max_custom = iif(?11 & 512, ?13, max_custom),/*-*/
    update_time_ms = ?10
WHERE name = ?1
