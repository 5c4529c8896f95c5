// What a page shows: read once, then again when something changes, and from time to
// time. What was read last stays when a call fails.

import { useLayoutEffect, useState } from "preact/hooks";

import { problem, signedOut } from "./call";
import type { Batch } from "./live/events";
import { onBatch } from "./live/live";

// Changes come by the thousand; a page reads anew this often at most.
const gap_ms = 700;

export interface Resource<T> {
  data: T | undefined;
  // error says why the last read failed; data is then what was read before.
  error: string | undefined;
  reload: () => void;
}

export interface ResourceOptions {
  // when tells which changes concern it.
  when?: (batch: Batch) => boolean;
  // every_ms reads it also without a change: lease ages, what nodes measure.
  every_ms?: number;
}

// useResource reads by load whenever the key changes.
export function useResource<T>(key: unknown, load: (signal: AbortSignal) => Promise<T>, options: ResourceOptions = {}): Resource<T> {
  const text = JSON.stringify(key);
  const [state, setState] = useState<{ key: string; data?: T; error?: string }>({ key: text });
  const [reader, setReader] = useState<Reader<T>>();
  useLayoutEffect(() => { // the first read does not wait for a paint
    const r = new Reader(load, (change) => setState((old) => ({ ...(old.key === text ? old : {}), ...change, key: text })));
    setReader(r);
    r.reload();
    const off = onBatch((batch) => {
      if (batch.gap || options.when?.(batch)) r.reload();
    });
    const timer = options.every_ms ? setInterval(() => r.reload(), options.every_ms) : undefined;
    const seen = () => !document.hidden && r.reload();
    document.addEventListener("visibilitychange", seen);
    return () => {
      r.stop();
      off();
      clearInterval(timer);
      document.removeEventListener("visibilitychange", seen);
    };
  }, [text]);
  const current = state.key === text;
  return { data: current ? state.data : undefined, error: current ? state.error : undefined, reload: () => reader?.reload(true) };
}

type Change<T> = { data: T; error?: never } | { error: string };

// Reader runs one read at a time; what asks for another meanwhile gets one after it.
class Reader<T> {
  private running = false;
  private again = false;
  private last_ms = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private readonly abort = new AbortController();

  constructor(
    private readonly load: (signal: AbortSignal) => Promise<T>,
    private readonly changed: (change: Change<T>) => void,
  ) {}

  reload(now = false): void {
    if (this.abort.signal.aborted || signedOut.value) return;
    if (document.hidden && this.last_ms > 0) return; // it reads again once it is seen
    if (this.running) {
      this.again = true;
      return;
    }
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.read(), now ? 0 : Math.max(0, this.last_ms + gap_ms - Date.now()));
  }

  stop(): void {
    clearTimeout(this.timer);
    this.abort.abort();
  }

  private async read(): Promise<void> {
    this.running = true;
    try {
      const data = await this.load(this.abort.signal);
      if (!this.abort.signal.aborted) this.changed({ data, error: undefined as never });
    } catch (reason) {
      if (!this.abort.signal.aborted) this.changed({ error: problem(reason) });
    }
    this.running = false;
    this.last_ms = Date.now();
    if (this.again) {
      this.again = false;
      this.reload();
    }
  }
}
