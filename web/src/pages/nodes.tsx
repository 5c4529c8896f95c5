// Nodes: what each has, and how much of it is in use.

import type { Node } from "@raft-control-plane/stubs/controlplane/v1/node_pb.js";
import { NodeStatus } from "@raft-control-plane/stubs/controlplane/v1/node_pb.js";
import { Consistency } from "@raft-control-plane/stubs/controlplane/v1/task_pb.js";
import { useEffect, useState } from "preact/hooks";

import { nodeCalls } from "../call";
import { bytes, cores, count, dollars, ms, plural } from "../format";
import type { Batch } from "../live/events";
import { useResource } from "../resource";
import { href, route, setParam } from "../route";
import { Ago, Badge, Bar, Empty, Labels, Loaded, now, typed } from "../ui";
import { FirstSteps } from "./first";
import { DrainBar, Scheduling } from "./scheduling";

const maxNodes = 10_000;
const shownAtFirst = 100;

// readNodes reads all of them; the contract gives 1,000 in a call.
export async function readNodes(signal: AbortSignal): Promise<Node[]> {
  const all: Node[] = [];
  for (let pageToken = ""; all.length < maxNodes; ) {
    const page = await nodeCalls.listNodes({ pageSize: 1000, pageToken, consistency: Consistency.STALE }, { signal });
    all.push(...page.nodes);
    pageToken = page.nextPageToken;
    if (!pageToken) break;
  }
  return all;
}

// What a node holds changes with its tasks too.
const concernsNodes = (b: Batch) => b.gap || b.events.length > 0;

export function NodesPage() {
  const nodes = useResource("nodes", readNodes, { when: concernsNodes, every_ms: 5000 });
  const p = route.value.params;
  const q = p.get("q") ?? "";
  const status = p.get("status") ?? "";
  const place = p.get("place") ?? "";
  const [shown, setShown] = useState(shownAtFirst);
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  useEffect(() => setChosen(new Set()), [q, status, place]);
  return (
    <>
      <form class="filters" role="search" aria-label="Filters" onSubmit={(e) => e.preventDefault()}>
        <input type="search" aria-label="Search by id, label or instance type" placeholder="Search by id, label, type  ( / )" value={q} onInput={typed((v) => setParam("q", v))} />
        <label>status <select value={status} onChange={typed((v) => setParam("status", v))}><option value="">all</option><option>HEALTHY</option><option>UNHEALTHY</option><option>UNKNOWN</option></select></label>
        <label>place <select value={place} onChange={typed((v) => setParam("place", v))}><option value="">all</option>{places(nodes.data ?? []).map((x) => <option key={x}>{x}</option>)}</select></label>
      </form>
      <Loaded of={nodes}>
        {(all) => {
          const fit = all.filter((n) => fits(n, q.trim(), status, place));
          if (all.length === 0) return <FirstSteps />;
          if (fit.length === 0) return <Empty>No node matches. <a href="#/nodes">Show all nodes</a></Empty>;
          return (
            <>
              <p class="dim">{plural(fit.length, "node")}, {count(fit.filter((n) => n.status === NodeStatus.HEALTHY).length)} healthy</p>
              <Chosen fit={fit} chosen={chosen} choose={setChosen} reload={nodes.reload} />
              <NodeTable nodes={fit.slice(0, shown)} chosen={chosen} choose={setChosen} />
              {fit.length > shown && <button type="button" onClick={() => setShown(shown + 200)}>Show more</button>}
            </>
          );
        }}
      </Loaded>
    </>
  );
}

const placeOf = (n: Node): string => [n.spec?.provider, n.spec?.region].filter(Boolean).join(" ") || "elsewhere";
const places = (nodes: Node[]): string[] => [...new Set(nodes.map(placeOf))].sort();

function fits(n: Node, q: string, status: string, place: string): boolean {
  if (status && NodeStatus[n.status] !== status) return false;
  if (place && placeOf(n) !== place) return false;
  if (!q) return true;
  const texts = [n.id, n.spec?.instanceType ?? "", ...Object.entries(n.spec?.labels ?? {}).map(([k, v]) => `${k}=${v}`)];
  return texts.some((t) => t.toLowerCase().includes(q.toLowerCase()));
}

type Choose = (ids: ReadonlySet<string>) => void;

// Chosen is what can be done with the nodes that are chosen; all that match may be, also
// those further down than the table is shown.
function Chosen({ fit, chosen, choose, reload }: { fit: Node[]; chosen: ReadonlySet<string>; choose: Choose; reload: () => void }) {
  const [told, setTold] = useState("");
  const some = fit.filter((n) => chosen.has(n.id));
  const all = some.length === fit.length;
  const done = (text: string) => {
    setTold(text);
    choose(new Set());
    reload();
  };
  return (
    <div class="row bulk">
      <button type="button" onClick={() => choose(all ? new Set() : new Set(fit.map((n) => n.id)))}>{all ? "Choose none" : `Choose all ${count(fit.length)}`}</button>
      {some.length > 0 && <Scheduling nodes={some} done={done} />}
      <span role="status">{told}</span>
    </div>
  );
}

function NodeTable({ nodes, chosen, choose }: { nodes: Node[]; chosen: ReadonlySet<string>; choose: Choose }) {
  const flip = (id: string) => {
    const next = new Set(chosen);
    if (!next.delete(id)) next.add(id);
    choose(next);
  };
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Nodes">
      <table>
        <thead><tr><th><span class="hidden">Chosen</span></th><th>Node</th><th>Status</th><th>Place</th><th>Slots</th><th>CPU</th><th>Memory</th><th>GPU</th><th class="num">$/h</th><th>Heard</th><th>Labels</th></tr></thead>
        <tbody>
          {nodes.map((n) => (
            <tr key={n.id}>
              <td><input type="checkbox" aria-label={`Choose ${n.id}`} checked={chosen.has(n.id)} onChange={() => flip(n.id)} /></td>
              <td><a data-row href={href(["nodes", n.id])}>{n.id}</a></td>
              <td><NodeBadge node={n} /><DrainBar node={n} /></td>
              <td>{placeOf(n)}{n.spec?.spot && <span class="label">spot</span>}</td>
              <td><Slots node={n} /></td>
              <td><Cpu node={n} /></td>
              <td><Memory node={n} /></td>
              <td><Gpus node={n} /></td>
              <td class="num">{priceOf(n)}</td>
              <td><Ago at={ms(n.heartbeatTime)} /></td>
              <td class="note"><Labels of={n.spec?.labels ?? {}} /></td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

export function NodeBadge({ node: n }: { node: Node }) {
  return <><Badge word={NodeStatus[n.status]} />{states(n).map((s) => <span class="label" key={s}>{s}</span>)}</>;
}

// states are what else decides whether it is given tasks.
function states(n: Node): string[] {
  const out: string[] = [];
  if (n.drain) out.push(n.runningTasks > 0 ? `draining, ${plural(n.runningTasks, "task")} left` : "drained");
  else if (!n.schedulable) out.push("cordoned");
  if (n.terminatingTime) out.push("is taken away");
  if (n.probationEndTime && ms(n.probationEndTime) > now.value) out.push(`held back: lost its tasks ${n.lapses} times`);
  return out;
}

export function Slots({ node: n }: { node: Node }) {
  const slots = n.spec?.slots ?? 0;
  return <Bar label="Slots" part={n.runningTasks / Math.max(1, slots)} text={`${n.runningTasks}/${slots}`} />;
}

export function Cpu({ node: n }: { node: Node }) {
  const has = Number(n.spec?.capacity?.cpuMillis ?? 0);
  const reserved = Number(n.reserved?.cpuMillis ?? 0);
  return <Bar label={`CPU reserved, of ${cores(has)} cores; measured ${cores(n.usage?.cpuMillis ?? 0)}`} part={has ? reserved / has : 0} text={`${cores(reserved)}/${cores(has)}`} />;
}

export function Memory({ node: n }: { node: Node }) {
  const has = Number(n.spec?.capacity?.memoryBytes ?? 0);
  const reserved = Number(n.reserved?.memoryBytes ?? 0);
  return <Bar label={`Memory reserved, of ${bytes(has)}; measured ${bytes(n.usage?.memoryBytes ?? 0)}`} part={has ? reserved / has : 0} text={`${bytes(reserved)}/${bytes(has)}`} />;
}

export function Gpus({ node: n }: { node: Node }) {
  const has = n.spec?.capacity?.gpus ?? 0;
  if (!has) return <span class="dim">none</span>;
  return <Bar label="GPUs" part={(n.reserved?.gpus ?? 0) / has} text={`${n.reserved?.gpus ?? 0}/${has}`} />;
}

export function Disk({ node: n }: { node: Node }) {
  const has = Number(n.spec?.capacity?.diskBytes ?? 0);
  const reserved = Number(n.reserved?.diskBytes ?? 0);
  return <Bar label={`Disk reserved, of ${bytes(has)}`} part={has ? reserved / has : 0} text={`${bytes(reserved)}/${bytes(has)}`} />;
}

export const priceOf = (n: Node): string => (n.spec?.priceMicrosPerHour ? dollars(n.spec.priceMicrosPerHour) : "");
