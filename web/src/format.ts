// Numbers and times as people read them.

import type { Duration, Timestamp } from "@bufbuild/protobuf/wkt";

export const ms = (t: Timestamp | undefined): number => (t ? Number(t.seconds) * 1000 + Math.floor(t.nanos / 1e6) : 0);
export const durationMs = (d: Duration | undefined): number => (d ? Number(d.seconds) * 1000 + d.nanos / 1e6 : 0);

const steps: [number, string][] = [[86_400_000, "d"], [3_600_000, "h"], [60_000, "min"], [1000, "s"]];

// span is a length of time in the one or two units that matter.
export function span(length_ms: number): string {
  if (length_ms < 1000) return `${Math.max(0, Math.round(length_ms))} ms`;
  if (length_ms < 10_000) return `${(length_ms / 1000).toFixed(1)} s`;
  for (const [i, [size, unit]] of steps.entries()) {
    if (length_ms < size) continue;
    const whole = Math.floor(length_ms / size);
    const next = steps[i + 1];
    const rest = next && whole < 10 ? Math.floor((length_ms % size) / next[0]) : 0;
    return `${whole} ${unit}` + (rest && next ? ` ${rest} ${next[1]}` : "");
  }
  return "";
}

// ago is how long ago a time is, or how long it is until then.
export function ago(time_ms: number, now_ms: number): string {
  const d = now_ms - time_ms;
  if (d < -1500) return `in ${span(-d)}`;
  return d < 1500 ? "just now" : `${span(d < 10_000 ? Math.round(d / 1000) * 1000 : d).replace(".0 s", " s")} ago`;
}

export const exact = (time_ms: number): string => {
  const d = new Date(time_ms);
  return `${d.toLocaleString()}.${String(d.getMilliseconds()).padStart(3, "0")} (${d.toISOString()})`;
};

export function bytes(n: number | bigint): string {
  let value = Number(n);
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let i = 0;
  while (value >= 1024 && i < units.length - 1) {
    value /= 1024;
    i++;
  }
  return `${value >= 100 || Number.isInteger(value) ? Math.round(value) : value.toFixed(1)} ${units[i] ?? ""}`;
}

export const cores = (millis: number | bigint): string => trim(Number(millis) / 1000);
export const dollars = (micros: number | bigint): string => `$${(Number(micros) / 1e6).toFixed(2)}`;
export const percent = (part: number): string => `${part > 0 && part < 0.01 ? "<1" : Math.round(part * 100)} %`;
export const count = (n: number | bigint): string => n.toLocaleString("en");
const trim = (n: number): string => (Number.isInteger(n) ? String(n) : n.toFixed(1));

// rate is a number for each second.
export const rate = (n: number): string => (n >= 100 ? count(Math.round(n)) : n >= 10 ? n.toFixed(0) : n.toFixed(1));

// plural counts a noun.
export const plural = (n: number | bigint, noun: string): string => `${count(n)} ${noun}${Number(n) === 1 ? "" : "s"}`;

// readable shows bytes that are text, and tells of others how many they are.
export function readable(data: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(data);
  } catch {
    return `(${bytes(data.length)} that are no text)`;
  }
}
