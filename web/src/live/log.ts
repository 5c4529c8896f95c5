// What an attempt prints while it runs: a stream that goes on where it broke off, or
// long polls where something on the way holds streams back.

import type { LogPart } from "@raft-control-plane/stubs/controlplane/v1/log_pb.js";

import { logCalls } from "../call";

// The first message of a stream comes at once, and one every 10 s.
const firstMessage_ms = 4_000;
const nextMessage_ms = 15_000;
const poll_s = 20n;

export interface LogSink {
  add(part: LogPart): void;
  state(state: "live" | "waiting"): void;
}

// followLog follows an attempt until it has ended or the signal aborts.
export async function followLog(taskId: string, attempt: number, sink: LogSink, signal: AbortSignal): Promise<void> {
  const place = { offset: 0n, ended: false };
  const take = (part: LogPart | undefined) => {
    if (!part) return;
    place.offset = part.nextOffset;
    place.ended = part.ended;
    sink.state("live");
    sink.add(part);
  };
  let failures = 0;
  let stream = true;
  while (!signal.aborted && !place.ended) {
    try {
      if (stream) stream = await streamOnce(taskId, attempt, place.offset, take, signal);
      else take((await logCalls.readLog({ taskId, attempt, offset: place.offset, wait: { seconds: poll_s } }, { signal, timeoutMs: Number(poll_s) * 1000 + 5000 })).part);
      failures = 0;
    } catch {
      if (signal.aborted) return;
      sink.state("waiting");
      failures++;
      await new Promise((resolve) => setTimeout(resolve, Math.min(2000, 200 * 2 ** Math.min(failures, 5))));
    }
  }
}

// streamOnce reads one stream, and reports whether streams come through at all.
async function streamOnce(taskId: string, attempt: number, offset: bigint, take: (part: LogPart | undefined) => void, outer: AbortSignal): Promise<boolean> {
  const abort = new AbortController();
  let begun = false;
  let dog = setTimeout(() => abort.abort(), firstMessage_ms);
  try {
    for await (const { part } of logCalls.tailLog({ taskId, attempt, offset }, { signal: AbortSignal.any([outer, abort.signal]), timeoutMs: 0 })) {
      clearTimeout(dog);
      dog = setTimeout(() => abort.abort(), nextMessage_ms);
      begun = true;
      take(part);
    }
    return true;
  } catch (reason) {
    if (abort.signal.aborted && !begun && !outer.aborted) return false;
    throw reason;
  } finally {
    clearTimeout(dog);
    abort.abort(); // leaving the loop does not end the call
  }
}
