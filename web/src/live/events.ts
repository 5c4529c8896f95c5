// Changes as the pages get them.

import type { Event } from "@raft-control-plane/stubs/controlplane/v1/event_pb.js";

export interface Batch {
  events: Event[];
  // Changes were left out, or the place to go on from was lost: read anew.
  gap: boolean;
}

export type LiveState = "off" | "connecting" | "stream" | "polls" | "waiting";

export const touchesTasks = (b: Batch) => b.gap || b.events.some((e) => e.subject.case === "task");
export const touchesNodes = (b: Batch) => b.gap || b.events.some((e) => e.subject.case === "node");
export const touchesTask = (id: string) => (b: Batch) =>
  b.gap || b.events.some((e) => e.subject.case === "task" && e.subject.value.taskId === id);
export const touchesNode = (id: string) => (b: Batch) => b.gap || b.events.some((e) => e.subject.value?.nodeId === id);
