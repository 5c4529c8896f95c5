// A task as a row of a table, from a message or from SQL.

import type { Progress, Task } from "@raft-control-plane/stubs/controlplane/v1/task_pb.js";
import { TaskStatus } from "@raft-control-plane/stubs/controlplane/v1/task_pb.js";

import { ms } from "./format";
import type { Row } from "./sql";
import { num, str } from "./sql";

export interface TaskRow {
  id: string;
  name: string;
  queue: string;
  status: string;
  nodeId: string;
  attempt: number;
  priority: number;
  createTime_ms: number;
  startTime_ms: number;
  endTime_ms: number;
  // note says why it is not further, in a few words.
  note: string;
}

export const statusNames = ["PENDING", "ASSIGNED", "RUNNING", "COMPLETED", "FAILED", "CANCELLED"] as const;
export const statusName = (s: TaskStatus): string => TaskStatus[s];
export const statusOf = (name: string): TaskStatus => TaskStatus[name as keyof typeof TaskStatus];
export const hasEnded = (status: string): boolean => status === "COMPLETED" || status === "FAILED" || status === "CANCELLED";

export function rowOf(t: Task): TaskRow {
  const status = statusName(t.status);
  const retry_ms = ms(t.retryTime);
  return {
    id: t.id, name: t.name, queue: t.queue, status, nodeId: t.nodeId, attempt: t.attempt, priority: t.priority,
    createTime_ms: ms(t.createTime), startTime_ms: ms(t.startTime), endTime_ms: ms(t.endTime),
    note: note(status, t.cancelRequested, t.attempt, retry_ms, t.error) || (status === "RUNNING" ? progressText(t.progress) : ""),
  };
}

// partOf is how much of its whole a task has done, 0 to 1; undefined if that is not known.
export const partOf = (p: Progress): number | undefined => (p.total > 0n ? Math.min(1, Number(p.done) / Number(p.total)) : undefined);

// progressText is how far a task is, such as "42% (21/50) epoch 3". A total of a million
// stands for the whole.
export function progressText(p: Progress | undefined): string {
  if (!p) return "";
  const part = partOf(p);
  const count = part === undefined ? p.done > 0n && `${p.done} done` : p.total !== 1_000_000n && `(${p.done}/${p.total})`;
  return [part !== undefined && `${Math.floor(100 * part)}%`, count, p.message].filter(Boolean).join(" ");
}

// searchSql finds tasks by the beginning of their id, which an index serves, and by
// part of their name among the newest, which is stopped after 2 s.
export const searchSql = `SELECT id, name, queue, status, node_id, attempt, priority, create_time_ms, start_time_ms, end_time_ms, cancel_requested, retry_time_ms, error
FROM tasks WHERE id >= ?1 AND id < ?1 || char(1114111) ORDER BY id LIMIT 50`;
export const searchNameSql = `SELECT id, name, queue, status, node_id, attempt, priority, create_time_ms, start_time_ms, end_time_ms, cancel_requested, retry_time_ms, error
FROM tasks WHERE instr(lower(name), lower(?1)) ORDER BY seq DESC LIMIT 100`;

export function rowOfSql(r: Row): TaskRow {
  const status = str(r["status"]);
  return {
    id: str(r["id"]), name: str(r["name"]), queue: str(r["queue"]), status, nodeId: str(r["node_id"]), attempt: num(r["attempt"]), priority: num(r["priority"]),
    createTime_ms: num(r["create_time_ms"]), startTime_ms: num(r["start_time_ms"]), endTime_ms: num(r["end_time_ms"]),
    note: note(status, num(r["cancel_requested"]) === 1, num(r["attempt"]), num(r["retry_time_ms"]), str(r["error"])),
  };
}

function note(status: string, cancelRequested: boolean, attempt: number, retry_ms: number, error: string): string {
  switch (true) {
    case hasEnded(status):
      return error;
    case cancelRequested:
      return "is being stopped";
    case retry_ms > 0:
      return attempt > 0 ? `waits for its next attempt: ${error}` : "waits for its start";
    case attempt > 1:
      return error && `was tried before: ${error}`;
  }
  return "";
}
