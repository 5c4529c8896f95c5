// The last hour, from the tasks that the state still has: what ended, and what waited.
//
// Tasks have no index by time, but task_ends is in the order of their ends: where the
// hour begins there is found by halving. Of more tasks than can be looked at every so
// many-th is: counts and times are then about right.

import type { Row } from "../sql";
import { num, rows, str } from "../sql";

const hour_ms = 3_600_000;
const atMost = 20_000;

const endOf = "SELECT t.end_time_ms FROM task_ends e JOIN tasks t ON t.seq = e.seq WHERE e.number >= (lo + hi) / 2 AND t.end_time_ms IS NOT NULL ORDER BY e.number LIMIT 1";
const early = `coalesce((${endOf}) < (SELECT begun FROM clock), 0)`;

const endedSql = `clock AS MATERIALIZED (SELECT unixepoch() * 1000 - ${hour_ms} AS begun),
  cut(lo, hi) AS (
    SELECT coalesce((SELECT min(number) FROM task_ends), 1), coalesce((SELECT max(number) FROM task_ends), 0) + 1
    UNION ALL
    SELECT iif(${early}, (lo + hi) / 2 + 1, lo), iif(${early}, hi, (lo + hi) / 2) FROM cut WHERE lo < hi
  ),
  part AS MATERIALIZED (SELECT lo, hi, 1 + (hi - lo) / ${atMost} AS step FROM (SELECT lo, coalesce((SELECT max(number) FROM task_ends), 0) AS hi FROM cut WHERE lo >= hi)),
  picked(number) AS (SELECT lo FROM part UNION ALL SELECT number + step FROM picked, part WHERE number + step <= hi),
  ended AS (
    SELECT t.queue, t.status, t.create_time_ms, t.start_time_ms, t.end_time_ms, step AS tasks
    FROM part, picked p CROSS JOIN task_ends e ON e.number = p.number CROSS JOIN tasks t ON t.seq = e.seq
    WHERE t.end_time_ms >= (SELECT begun FROM clock)
  )`;

export const minutes = 60;

// The clock is of whole seconds: what ends in this one belongs to the last minute.
const minute = `min(${minutes - 1}, (end_time_ms - (SELECT begun FROM clock)) / 60000)`;

const doneSql = `WITH RECURSIVE ${endedSql},
  ranked AS (
    SELECT ${minute} AS minute, status, tasks, start_time_ms - create_time_ms AS waited_ms,
      row_number() OVER (PARTITION BY ${minute} ORDER BY start_time_ms IS NULL, start_time_ms - create_time_ms) AS place,
      count(start_time_ms) OVER (PARTITION BY ${minute}) AS started
    FROM ended
  )
SELECT minute, sum(tasks) AS ended, coalesce(sum(tasks) FILTER (WHERE status = 'FAILED'), 0) AS failed,
  max(waited_ms) FILTER (WHERE place <= (started + 1) / 2) AS half_ms, max(waited_ms) FILTER (WHERE place <= (started * 19 + 19) / 20) AS most_ms
FROM ranked GROUP BY minute`;

// Done is what ended in each minute of the last hour, and how long that had waited
// from its submission to its start: half of it, and 95 %, at most so long.
export interface Done {
  ended: number[];
  failed: number[];
  half_ms: number[];
  most_ms: number[];
}

export async function readDone(signal: AbortSignal): Promise<Done> {
  const found = new Map((await rows(doneSql, [], signal)).map((r) => [num(r["minute"]), r]));
  const values = (name: string) => Array.from({ length: minutes }, (_, i) => num(found.get(i)?.[name]));
  return { ended: values("ended"), failed: values("failed"), half_ms: values("half_ms"), most_ms: values("most_ms") };
}

// Points of time at which what waits is counted; the last is now.
const steps = 30;
const step_ms = hour_ms / steps;

// A task waits from its submission to its start. The point of time after a moment; the
// clock is of whole seconds, and what happens in this one has happened now.
const after = (time_ms: string) => `min(${steps}, max(0, (${time_ms} - (SELECT begun FROM clock) + ${step_ms - 1}) / ${step_ms}))`;

const waitedSql = `WITH RECURSIVE ${endedSql},
  pending AS MATERIALIZED (SELECT 1 + count(*) / ${atMost} AS step FROM tasks INDEXED BY tasks_pending WHERE status = 'PENDING' AND retry_time_ms IS NULL),
  waits(queue, born_ms, gone_ms, tasks) AS (
    SELECT queue, create_time_ms, coalesce(start_time_ms, end_time_ms), tasks FROM ended
    UNION ALL
    SELECT queue, create_time_ms, coalesce(start_time_ms, assign_time_ms), 1 FROM tasks INDEXED BY tasks_on_node WHERE status IN ('ASSIGNED', 'RUNNING')
    UNION ALL
    SELECT t.queue, t.create_time_ms, NULL, p.step FROM pending p CROSS JOIN tasks t INDEXED BY tasks_pending
    WHERE t.status = 'PENDING' AND t.retry_time_ms IS NULL AND ((t.seq * 2654435761 & 4294967295) >> 12) % p.step = 0 -- by chance, and alike each time
    UNION ALL
    SELECT queue, create_time_ms, NULL, 1 FROM tasks INDEXED BY tasks_retry WHERE retry_time_ms IS NOT NULL
  )
SELECT queue, ${after("born_ms")} AS born, coalesce(${after("gone_ms")}, ${steps + 1}) AS gone, sum(tasks) AS tasks, min(born_ms) - (SELECT begun FROM clock) AS first_ms
FROM waits WHERE gone_ms IS NULL OR gone_ms >= (SELECT begun FROM clock)
GROUP BY 1, 2, 3 HAVING born < gone`;

// Waited is how many tasks of a queue waited over the last hour, and for how long the
// oldest of them had.
export interface Waited {
  tasks: number[];
  oldest_ms: number[];
}

export async function readWaited(signal: AbortSignal): Promise<ReadonlyMap<string, Waited>> {
  const found = new Map<string, Waited>();
  for (const r of await rows(waitedSql, [], signal)) note(found, r);
  return found;
}

function note(found: Map<string, Waited>, r: Row): void {
  const zeros = () => Array.from({ length: steps + 1 }, () => 0);
  const w = found.get(str(r["queue"])) ?? { tasks: zeros(), oldest_ms: zeros() };
  found.set(str(r["queue"]), w);
  for (let i = num(r["born"]); i <= steps && i < num(r["gone"]); i++) {
    w.tasks[i] = (w.tasks[i] ?? 0) + num(r["tasks"]);
    w.oldest_ms[i] = Math.max(w.oldest_ms[i] ?? 0, i * step_ms - num(r["first_ms"]));
  }
}
