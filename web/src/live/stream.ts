// One watch of all changes: a stream that goes on where it broke off, or long polls
// where something on the way holds streams back.

import { Code, ConnectError } from "@connectrpc/connect";

import { Consistency } from "@raft-control-plane/stubs/controlplane/v1/task_pb.js";
import type { Event } from "@raft-control-plane/stubs/controlplane/v1/event_pb.js";

import { eventCalls } from "../call";
import type { Batch, LiveState } from "./events";

// The first message of a stream comes at once, and one every 10 s.
const firstMessage_ms = 4_000;
const nextMessage_ms = 15_000;
const poll_s = 20n;
const gather_ms = 100;
// A browser cannot follow tens of thousands of changes a second: beyond so many the
// rest of a second is left out, and pages read anew.
const maxEventsPerSecond = 1_000;
// After so long with polls a stream is tried again.
const pollsFor_ms = 300_000;

export interface Sink {
  cursor(): string;
  deliver(batch: Batch, cursor: string): void;
  state(state: LiveState): void;
}

// follow watches until the signal aborts.
export async function follow(sink: Sink, signal: AbortSignal): Promise<void> {
  let failures = 0;
  let streamAgain_ms = 0;
  while (!signal.aborted) {
    const stream = Date.now() >= streamAgain_ms;
    try {
      await (stream ? streamOnce(sink, signal) : pollOnce(sink, signal));
      failures = 0;
    } catch (reason) {
      if (signal.aborted) return;
      if (reason instanceof Blocked) {
        streamAgain_ms = Date.now() + pollsFor_ms;
        continue;
      }
      failures++;
      sink.state("waiting");
      if (isLost(ConnectError.from(reason))) sink.deliver({ events: [], gap: true }, "");
      await pause(Math.min(2000, 200 * 2 ** Math.min(failures, 5)), signal);
    }
  }
}

// Blocked is thrown when a stream is answered by silence.
class Blocked extends Error {}

// isLost tells that the cursor cannot be gone on from: the changes behind it are no
// longer kept, or the cluster is another one.
function isLost(error: ConnectError): boolean {
  return error.code === Code.OutOfRange || error.code === Code.InvalidArgument;
}

async function streamOnce(sink: Sink, outer: AbortSignal): Promise<void> {
  const abort = new AbortController();
  const signal = AbortSignal.any([outer, abort.signal]);
  let begun = false;
  let dog = setTimeout(() => abort.abort(), firstMessage_ms);
  const gather = new Gather(sink);
  try {
    for await (const message of eventCalls.watchEvents({ cursor: sink.cursor() }, { signal, timeoutMs: 0 })) {
      clearTimeout(dog);
      dog = setTimeout(() => abort.abort(), nextMessage_ms);
      if (!begun) sink.state("stream");
      begun = true;
      if (!gather.add(message.event, message.cursor)) return await skip(sink, outer);
    }
  } catch (reason) {
    if (abort.signal.aborted && !begun && !outer.aborted) throw new Blocked();
    throw reason;
  } finally {
    clearTimeout(dog);
    gather.flush();
    abort.abort(); // leaving the loop does not end the call
  }
}

async function pollOnce(sink: Sink, signal: AbortSignal): Promise<void> {
  const cursor = sink.cursor();
  const { events, nextCursor } = await eventCalls.listEvents(
    { cursor, wait: { seconds: cursor ? poll_s : 0n }, pageSize: maxEventsPerSecond, consistency: Consistency.STALE },
    { signal, timeoutMs: Number(poll_s) * 1000 + 5000 },
  );
  sink.state("polls");
  sink.deliver({ events, gap: !cursor }, nextCursor);
  if (events.length === maxEventsPerSecond) await skip(sink, signal);
  else if (events.length > 0) await pause(gather_ms, signal);
}

// skip leaves out what is too much, and goes on with what is new after a second.
async function skip(sink: Sink, signal: AbortSignal): Promise<void> {
  sink.deliver({ events: [], gap: true }, "");
  await pause(1000, signal);
}

// Gather hands on at most ten batches a second.
class Gather {
  private events: Event[] = [];
  private cursor = "";
  private timer: ReturnType<typeof setTimeout> | undefined;
  private second = 0;
  private inSecond = 0;

  constructor(private readonly sink: Sink) {}

  // add returns false when more come than can be followed.
  add(event: Event | undefined, cursor: string): boolean {
    this.cursor = cursor;
    if (event) this.events.push(event);
    this.timer ??= setTimeout(() => this.flush(), event ? gather_ms : 0);
    const second = Math.floor(Date.now() / 1000);
    this.inSecond = second === this.second ? this.inSecond + 1 : 1;
    this.second = second;
    return this.inSecond <= maxEventsPerSecond;
  }

  flush(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    if (this.cursor) this.sink.deliver({ events: this.events, gap: false }, this.cursor);
    this.events = [];
    this.cursor = "";
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
