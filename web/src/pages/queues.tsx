// Queues: how they share the nodes.

import { useState } from "preact/hooks";

import type { Queue } from "@raft-control-plane/stubs/controlplane/v1/queue_pb.js";
import { Placement } from "@raft-control-plane/stubs/controlplane/v1/queue_pb.js";
import { Consistency } from "@raft-control-plane/stubs/controlplane/v1/task_pb.js";

import { queueCalls } from "../call";
import { Lines } from "../chart";
import { bytes, cores, count, durationMs, percent, span } from "../format";
import type { Batch } from "../live/events";
import { useResource } from "../resource";
import { href } from "../route";
import { Action, Badge, Bar, Empty, Loaded } from "../ui";
import type { Waited } from "./hour";
import { readWaited } from "./hour";
import { QueueForm } from "./queue-form";

// readQueues reads the first 1,000, by name.
export async function readQueues(signal: AbortSignal): Promise<Queue[]> {
  const { queues } = await queueCalls.listQueues({ pageSize: 1000, consistency: Consistency.STALE }, { signal });
  return queues;
}

export function QueuesPage() {
  const queues = useResource("queues", readQueues, { when: (b: Batch) => b.events.length > 0, every_ms: 5000 });
  const waited = useResource("waited", readWaited, { every_ms: 20_000 });
  return (
    <>
      <div class="row">
        <p class="dim lead">The next task is that of the queue which holds the least of the nodes for its weight. Within a queue the highest priority goes first, then the oldest.</p>
        <Settings label="New queue" done={queues.reload} />
      </div>
      <Loaded of={queues}>
        {(list) => list.length === 0 ? <Empty>No queue has settings or tasks. A queue is there once a task names it, or once it is given settings by “New queue”.</Empty> : (
          <div class="grid">{list.map((q) => <One key={q.name} queue={q} all={list} waited={waited.data?.get(q.name)} reload={queues.reload} />)}</div>
        )}
      </Loaded>
    </>
  );
}

function One({ queue: q, all, waited, reload }: { queue: Queue; all: Queue[]; waited: Waited | undefined; reload: () => void }) {
  const share = Number(q.dominantShareMillionths) / 1e6;
  const weights = all.reduce((sum, x) => sum + (x.weight || 1), 0);
  const change = async () => {
    if (q.paused) await queueCalls.resumeQueue({ name: q.name });
    else if (q.implicit) await queueCalls.createQueue({ queue: { name: q.name, paused: true } }); // it has no settings yet
    else await queueCalls.pauseQueue({ name: q.name });
    reload();
  };
  return (
    <section class="card" aria-label={`Queue ${q.name}`}>
      <header>
        <h2>{q.name}</h2>{q.paused && <Badge word="paused" />}
        <div class="more row">
          <Settings label="Settings" of={q} done={reload} />
          {!q.implicit && q.pendingTasks + q.runningTasks === 0n && (
            <Action danger label="Forget" of={q.name} act={() => queueCalls.deleteQueue({ name: q.name }).then(reload)} ask={`Take its settings away from the queue ${q.name}? Tasks can still name it, and have the defaults then.`} />
          )}
          <Action label={q.paused ? "Resume" : "Pause"} of={q.name} act={change}
            {...(q.paused ? {} : { ask: `Pause the queue ${q.name}? Nothing is placed from it until it is resumed. What runs goes on, and tasks can be submitted.` })} />
        </div>
      </header>
      <div class="tiles small">
        <a class="tile" href={href(["tasks"], { queue: q.name, status: "PENDING" })}><b>{count(q.pendingTasks)}</b>waiting</a>
        <a class="tile" href={href(["tasks"], { queue: q.name, status: ["ASSIGNED", "RUNNING"] })}><b>{count(q.runningTasks)}</b>running</a>
      </div>
      <Bar label="Share of the nodes that it holds" part={share} text={`${percent(share)} held`} />
      {limits(q).map(([name, used, limit, text]) => <Bar key={name} label={`Limit: ${name}`} part={limit > 0 ? used / limit : 1} text={text} />)}
      <History of={waited} />
      <p class="policy">{policy(q, weights)}</p>
    </section>
  );
}

// History is how many tasks waited over the last hour, and for how long the oldest.
function History({ of }: { of: Waited | undefined }) {
  if (!of) return <p class="dim">Nothing waited for long in the last hour.</p>;
  const charts: [name: string, values: number[], show: (n: number) => string][] = [["waiting", of.tasks, (n) => count(Math.round(n))], ["oldest", of.oldest_ms, (n) => span(n)]];
  return (
    <div class="pair">{charts.map(([name, values, show]) => (
      <Lines key={name} small label={`Last hour, ${name}`} show={show} count={values.length} from="1 h ago" to="now" series={[{ name, values }]} />
    ))}</div>
  );
}

function Settings({ label, of, done }: { label: string; of?: Queue; done: () => void }) {
  const [open, setOpen] = useState(false);
  return (
    <>
      <button type="button" aria-label={of && `${label}: ${of.name}`} onClick={() => setOpen(true)}>{label}</button>
      {open && <QueueForm {...(of && { of })} close={() => setOpen(false)} done={done} />}
    </>
  );
}

function limits(q: Queue): [string, number, number, string][] {
  const out: [string, number, number, string][] = [];
  const l = q.limits;
  if (l?.tasks !== undefined) out.push(["tasks", Number(q.runningTasks), l.tasks, `${count(q.runningTasks)} of ${count(l.tasks)} tasks`]);
  if (l?.cpuMillis !== undefined) out.push(["CPU", Number(q.used?.cpuMillis ?? 0), Number(l.cpuMillis), `${cores(q.used?.cpuMillis ?? 0)} of ${cores(l.cpuMillis)} cores`]);
  if (l?.memoryBytes !== undefined) out.push(["memory", Number(q.used?.memoryBytes ?? 0), Number(l.memoryBytes), `${bytes(q.used?.memoryBytes ?? 0)} of ${bytes(l.memoryBytes)}`]);
  if (l?.gpus !== undefined) out.push(["GPUs", q.used?.gpus ?? 0, l.gpus, `${q.used?.gpus ?? 0} of ${l.gpus} GPUs`]);
  if (l?.diskBytes !== undefined) out.push(["disk", Number(q.used?.diskBytes ?? 0), Number(l.diskBytes), `${bytes(q.used?.diskBytes ?? 0)} of ${bytes(l.diskBytes)}`]);
  for (const [name, most] of Object.entries(l?.custom ?? {}).sort(([a], [b]) => a < b ? -1 : 1)) {
    const used = q.used?.custom[name] ?? 0n;
    out.push([name, Number(used), Number(most), `${count(used)} of ${count(most)} ${name}`]);
  }
  return out;
}

const placements: Record<Placement, string> = {
  [Placement.UNSPECIFIED]: "the least loaded node", [Placement.SPREAD]: "the least loaded node",
  [Placement.BINPACK]: "the most loaded node that has room", [Placement.CHEAPEST]: "the node where they cost least",
};

// policy says in words how a queue is treated.
function policy(q: Queue, weights: number): string {
  const weight = q.weight || 1;
  const parts = [
    `Its weight is ${weight}${weights > weight ? `: ${percent(weight / weights)} of the nodes while all queues have tasks` : ""}.`,
    `Its tasks go to ${placements[q.placement]}.`,
    q.ageingInterval ? `A task counts as one priority higher for each ${span(durationMs(q.ageingInterval))} that it waits.` : "Waiting does not raise a priority.",
    limits(q).length === 0 ? "It has no limits." : "",
    q.implicit ? "These are the defaults: it has no settings of its own." : "",
  ];
  return parts.filter(Boolean).join(" ");
}
