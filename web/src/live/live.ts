// Live changes for the pages of this tab, from the watch of this tab or of another.

import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { signal } from "@preact/signals";

import { EventSchema } from "@raft-control-plane/stubs/controlplane/v1/event_pb.js";

import { generation, signedOut } from "../call";
import { campaign } from "./election";
import type { Batch, LiveState } from "./events";
import { follow } from "./stream";

// liveState is how changes come; what another tab says if that one watches.
export const liveState = signal<LiveState>("connecting");
// shared is set while another tab watches for this one.
export const shared = signal(false);

type Listener = (batch: Batch) => void;
const listeners = new Set<Listener>();

// onBatch calls the listener for each batch until the function that it returns is
// called.
export function onBatch(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

// Told is what one tab tells the others.
interface Told {
  cursor: string;
  gap: boolean;
  state: LiveState;
  events: Uint8Array[];
}

const channel = typeof BroadcastChannel === "undefined" ? undefined : new BroadcastChannel("raft-node.watch");
let cursor = "";

function take(batch: Batch, at: string): void {
  cursor = at;
  if (batch.events.length === 0 && !batch.gap) return;
  for (const listener of listeners) listener(batch);
}

function tell(batch: Batch): void {
  channel?.postMessage({
    cursor, gap: batch.gap, state: liveState.value, events: batch.events.map((e) => toBinary(EventSchema, e)),
  } satisfies Told);
}

const sink = {
  cursor: () => cursor,
  deliver(batch: Batch, at: string) {
    take(batch, at);
    tell(batch);
  },
  state(state: LiveState) {
    if (state === liveState.value) return;
    liveState.value = state;
    tell({ events: [], gap: false });
  },
};

// before tells cursors of one cluster apart by their order; one that cannot be
// compared is new.
function before(a: string, b: string): boolean {
  const [i = 0, j = 0] = a.split("-").map(Number);
  const [k = 0, l = 0] = b.split("-").map(Number);
  return i < k || (i === k && j < l);
}

// startLive begins to watch, or to listen to the tab that does.
export function startLive(): void {
  let abort: AbortController | undefined;
  campaign(
    () => !signedOut.value,
    () => {
      abort = new AbortController();
      shared.value = false;
      void follow(sink, abort.signal);
    },
    () => {
      abort?.abort();
      shared.value = !signedOut.value;
      if (signedOut.value) liveState.value = "off";
    },
  );
  channel?.addEventListener("message", ({ data }: MessageEvent<Told>) => {
    if (signedOut.value) return; // what another tab may see is not for this one
    liveState.value = data.state;
    const events = data.events.map((e) => fromBinary(EventSchema, e)).filter((e) => !cursor || before(cursor, e.cursor));
    take({ events, gap: data.gap }, data.cursor || cursor);
  });
  // A member that is back may have lost what this tab has not seen: pages read anew.
  generation.subscribe((n) => {
    if (n > 0) for (const listener of listeners) listener({ events: [], gap: true });
  });
}
