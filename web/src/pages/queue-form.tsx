// The settings of a queue, to make or change them.

import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";

import type { Queue, QueueSchema } from "@raft-control-plane/stubs/controlplane/v1/queue_pb.js";
import { Placement, QueueField } from "@raft-control-plane/stubs/controlplane/v1/queue_pb.js";

import { problem, queueCalls } from "../call";
import { durationMs } from "../format";
import { Dialog, Problem, typed } from "../ui";
import { violations } from "../violations";

const bytesPerGiB = 2 ** 30;

// What is typed, as it is typed; what is empty is not set.
interface Typed {
  name: string;
  weight: string;
  placement: string;
  tasks: string;
  cores: string;
  gib: string;
  disk_gib: string;
  gpus: string;
  custom: string;
  ageing_s: string;
}

const fresh: Typed = { name: "", weight: "1", placement: String(Placement.SPREAD), tasks: "", cores: "", gib: "", disk_gib: "", gpus: "", custom: "", ageing_s: "" };

function typedOf(q: Queue): Typed {
  const l = q.limits;
  const text = (n: number | bigint | undefined, unit: number) => (n === undefined ? "" : String(Number(n) / unit));
  return {
    name: q.name, weight: String(q.weight || 1), placement: String(q.placement || Placement.SPREAD), tasks: text(l?.tasks, 1), cores: text(l?.cpuMillis, 1000),
    gib: text(l?.memoryBytes, bytesPerGiB), disk_gib: text(l?.diskBytes, bytesPerGiB), gpus: text(l?.gpus, 1),
    custom: Object.entries(l?.custom ?? {}).map(([k, v]) => `${k}=${String(v)}`).sort().join(", "), ageing_s: q.ageingInterval ? String(durationMs(q.ageingInterval) / 1000) : "",
  };
}

function messageOf(t: Typed): MessageInitShape<typeof QueueSchema> {
  const whole = (text: string, unit: number) => BigInt(Math.round(Number(text) * unit));
  const ageing_ms = Math.round(Number(t.ageing_s) * 1000);
  return {
    name: t.name.trim(), weight: Number(t.weight), placement: Number(t.placement),
    limits: {
      ...(t.tasks && { tasks: Number(t.tasks) }), ...(t.cores && { cpuMillis: whole(t.cores, 1000) }),
      ...(t.gib && { memoryBytes: whole(t.gib, bytesPerGiB) }), ...(t.gpus && { gpus: Number(t.gpus) }),
      ...(t.disk_gib && { diskBytes: whole(t.disk_gib, bytesPerGiB) }), custom: customOf(t.custom),
    },
    ...(t.ageing_s && { ageingInterval: { seconds: BigInt(Math.trunc(ageing_ms / 1000)), nanos: (ageing_ms % 1000) * 1_000_000 } }),
  };
}

// customOf reads "licenses=4, seats=10".
function customOf(text: string): Record<string, bigint> {
  const pairs = text.split(",").filter((p) => p.trim()).map((p) => p.split("=").map((x) => x.trim()));
  for (const [name, n] of pairs) if (!name || !n || !/^\d+$/.test(n)) throw new Error(`other resources: ${name ?? ""}: write a name and a whole number, such as licenses=4`);
  return Object.fromEntries(pairs.map(([name, n]) => [name, BigInt(n ?? 0)]));
}

// Whether it is paused is changed by its own button, and left alone here.
const changed = [
  QueueField.WEIGHT, QueueField.PLACEMENT, QueueField.LIMIT_TASKS, QueueField.LIMIT_CPU, QueueField.LIMIT_MEMORY, QueueField.LIMIT_GPUS, QueueField.LIMIT_DISK,
  QueueField.LIMIT_CUSTOM, QueueField.AGEING_INTERVAL,
];

// QueueForm asks for the settings of a queue, of a new one if none is given.
export function QueueForm({ of, close, done }: { of?: Queue; close: () => void; done: () => void }) {
  const [t, setT] = useState<Typed>(of ? typedOf(of) : fresh);
  const [refused, setRefused] = useState<unknown>();
  const [busy, setBusy] = useState(false);
  const wrong = violations(refused);
  const keep = async () => {
    setBusy(true);
    try {
      const queue = messageOf(t);
      if (of && !of.implicit) await queueCalls.updateQueue({ queue, fields: changed });
      else await queueCalls.createQueue({ queue });
      done();
      close();
    } catch (reason) {
      setRefused(reason);
    }
    setBusy(false);
  };
  const field = (name: keyof Typed, path: string, label: string, hint: string, min = 0) => (
    <Field label={label} hint={hint} wrong={wrong.get(path)} name={name}>
      <input id={`queue-${name}`} type="number" step="any" min={min} value={t[name]} placeholder="none" aria-invalid={wrong.has(path)} aria-describedby={`queue-${name}-told`} onInput={typed((v) => setT({ ...t, [name]: v }))} />
    </Field>
  );
  const elsewhere = refused !== undefined && wrong.size === 0;
  return (
    <Dialog title={of ? `Settings of ${of.name}` : "New queue"} close={close}>
      <form class="settings" noValidate onSubmit={(e) => (e.preventDefault(), void keep())}>
        {!of && (
          <Field label="Name" hint="letters, digits, '.', '_' or '-'" wrong={wrong.get("queue.name")} name="name">
            <input id="queue-name" type="text" value={t.name} aria-invalid={wrong.has("queue.name")} aria-describedby="queue-name-told" onInput={typed((v) => setT({ ...t, name: v }))} />
          </Field>
        )}
        {field("weight", "queue.weight", "Weight", "its part of the nodes against other queues", 1)}
        <Field label="Placement" hint="which of the nodes that have room takes a task" wrong={wrong.get("queue.placement")} name="placement">
          <select id="queue-placement" value={t.placement} aria-describedby="queue-placement-told" onChange={typed((v) => setT({ ...t, placement: v }))}>
            <option value={Placement.SPREAD}>the least loaded</option><option value={Placement.BINPACK}>the most loaded</option><option value={Placement.CHEAPEST}>the cheapest</option>
          </select>
        </Field>
        {field("tasks", "queue.limits.tasks", "Tasks at most", "at once; empty for no limit")}
        {field("cores", "queue.limits.cpu_millis", "CPU at most", "cores, together")}
        {field("gib", "queue.limits.memory_bytes", "Memory at most", "GiB, together")}
        {field("disk_gib", "queue.limits.disk_bytes", "Disk at most", "GiB, together")}
        {field("gpus", "queue.limits.gpus", "GPUs at most", "together")}
        <Field label="Others at most" hint="name=number, comma-separated; empty for no limit" wrong={wrong.get("queue.limits.custom")} name="custom">
          <input id="queue-custom" type="text" value={t.custom} placeholder="none" aria-describedby="queue-custom-told" onInput={typed((v) => setT({ ...t, custom: v }))} />
        </Field>
        {field("ageing_s", "queue.ageing_interval", "Ageing", "seconds of waiting that count as one priority more; empty for never", 1)}
        {elsewhere && <Problem text={problem(refused)} />}
        {[...wrong].filter(([path]) => !paths.has(path)).map(([path, text]) => <Problem key={path} text={`${path}: ${text}`} />)}
        <div class="row end"><button type="button" onClick={close}>Leave it</button><button type="submit" class="solid" disabled={busy}>{of ? "Change" : "Make it"}</button></div>
      </form>
    </Dialog>
  );
}

// Those that have a place in the form.
const paths: ReadonlySet<string> = new Set([
  "queue.name", "queue.weight", "queue.placement", "queue.limits.tasks", "queue.limits.cpu_millis", "queue.limits.memory_bytes", "queue.limits.disk_bytes", "queue.limits.gpus", "queue.limits.custom", "queue.ageing_interval",
]);

function Field({ label, hint, wrong, name, children }: { label: string; hint: string; wrong: string | undefined; name: string; children: ComponentChildren }) {
  return (
    <div class="field">
      <label for={`queue-${name}`}>{label}</label>
      {children}
      <span id={`queue-${name}-told`} class={wrong === undefined ? "dim" : "wrong"} role={wrong === undefined ? undefined : "alert"}>{wrong ?? hint}</span>
    </div>
  );
}
