// Overview: what an operator looks at first.

import { useEffect, useState } from "preact/hooks";

import { count, dollars, percent, plural, rate, span } from "../format";
import type { Batch } from "../live/events";
import { cluster, here, pageAt, roleName } from "../members";
import type { Resource } from "../resource";
import { useResource } from "../resource";
import { href } from "../route";
import { Lines } from "../chart";
import type { Row } from "../sql";
import { num, rows, str } from "../sql";
import { Badge, Bar, Card, Empty, Loaded } from "../ui";
import { lag, Seen } from "./cluster";
import { Failures, failuresSql } from "./failures";
import { FirstSteps } from "./first";
import type { Done } from "./hour";
import { minutes, readDone } from "./hour";
import { readQueues } from "./queues";

const sample_ms = 2000;
const samples = 90;

// Both numbers only rise, by one for each task: their growth is what is done and
// submitted.
const progressSql = `SELECT (SELECT coalesce(max(number), 0) FROM task_ends) AS ended, (SELECT coalesce(max(seq), 0) FROM tasks) AS submitted`;

// What is in use of a node is the largest part of any of its resources.
const fleetSql = `SELECT provider, region, count(*) AS nodes, sum(up) AS up, sum(slots * up) AS slots, sum(running_tasks * up) AS running,
  sum(cpu_millis * up) AS cpu, sum(reserved_cpu_millis * up) AS cpu_used, sum(memory_bytes * up) AS memory, sum(reserved_memory_bytes * up) AS memory_used,
  sum(gpus * up) AS gpus, sum(reserved_gpus * up) AS gpus_used, sum(price * up) AS price, sum(price * up * used) AS price_used
FROM (
  SELECT l.*, n.provider, n.region, n.price_micros_per_hour AS price, l.status = 'HEALTHY' AS up,
    max(1.0 * l.running_tasks / max(l.slots, 1), 1.0 * l.reserved_cpu_millis / max(l.cpu_millis, 1),
        1.0 * l.reserved_memory_bytes / max(l.memory_bytes, 1), 1.0 * l.reserved_disk_bytes / max(l.disk_bytes, 1), 1.0 * l.reserved_gpus / max(l.gpus, 1)) AS used
  FROM v_node_load l JOIN nodes n ON n.id = l.node_id)
GROUP BY provider, region ORDER BY price DESC, provider, region`;

const anything = (b: Batch) => b.events.length > 0;

export function OverviewPage() {
  const progress = useProgress();
  const fleet = useResource("fleet", (signal) => rows(fleetSql, [], signal), { when: anything, every_ms: 5000 });
  const queues = useResource("overview queues", readQueues, { when: anything, every_ms: 5000 });
  const failures = useResource("failures", (signal) => rows(failuresSql("", 8), [], signal), { when: anything, every_ms: 15_000 });
  const done = useResource("last hour", readDone, { every_ms: 20_000 });
  if (progress.last && progress.last.submitted === 0 && fleet.data?.length === 0) return <FirstSteps />;
  const sum = (name: string) => (fleet.data ?? []).reduce((s, r) => s + num(r[name]), 0);
  const waiting = (queues.data ?? []).reduce((s, q) => s + Number(q.pendingTasks), 0);
  return (
    <>
      <div class="tiles">
        <a class="tile" href={href(["tasks"], { status: ["ASSIGNED", "RUNNING"] })}><b data-tile="running">{count(sum("running"))}</b>running</a>
        <a class="tile" href={href(["tasks"], { status: "PENDING" })}><b data-tile="waiting">{count(waiting)}</b>waiting</a>
        <div class="tile"><b data-tile="rate">{rate(progress.endedPerSecond.at(-1) ?? 0)}</b>ended each second</div>
        <a class="tile" href="#/nodes"><b>{count(sum("up"))}<small> / {count(sum("nodes"))}</small></b>nodes healthy</a>
        <div class="tile"><b>{dollars(sum("price"))}<small> / {dollars(sum("price_used"))}</small></b>an hour, up / used</div>
      </div>
      <div class="grid">
        <Card title="Throughput" wide>
          <Lines small label="Tasks a second" unit="/s" count={samples} from={`${span(samples * sample_ms)} ago`} to="now"
            series={[{ name: "ended", values: progress.endedPerSecond }, { name: "submitted", values: progress.submittedPerSecond }]} />
        </Card>
        <Card title="Last hour" wide><LastHour of={done} /></Card>
        <Card title="Members" more={<a href="#/cluster">Cluster</a>}><MembersCard /></Card>
        <Card title="Queues" more={<a href="#/queues">Queues</a>}>
          <Loaded of={queues}>
            {(list) => list.length === 0 ? <Empty>Nothing waits.</Empty> : (
              <ul class="plain">{list.toSorted((a, b) => Number(b.pendingTasks - a.pendingTasks)).slice(0, 8).map((q) => (
                <li key={q.name}><a href={href(["tasks"], { queue: q.name })}>{q.name}</a> {q.paused && <Badge word="paused" />}<span class="grow" />{count(q.pendingTasks)} waiting, {count(q.runningTasks)} running</li>
              ))}</ul>
            )}
          </Loaded>
        </Card>
        <Card title="Fleet" wide more={<a href="#/nodes">Nodes</a>}><Fleet of={fleet} /></Card>
        <Card title="Failed lately" wide more={<a href={href(["tasks"], { status: "FAILED" })}>All that failed</a>}>
          <Loaded of={failures}>{(list) => <Failures list={list} />}</Loaded>
        </Card>
      </div>
    </>
  );
}

function LastHour({ of }: { of: Resource<Done> }) {
  const frame = { count: minutes, from: "1 h ago", to: "now" };
  return (
    <Loaded of={of}>
      {(d) => (
        <div class="pair">
          <Lines {...frame} small label="Tasks a minute" unit="/min" series={[{ name: "ended", values: d.ended }, { name: "of these failed", values: d.failed }]} />
          <Lines {...frame} small label="From submission to start" show={span} series={[{ name: "half started within", values: d.half_ms }, { name: "95 % started within", values: d.most_ms }]} />
        </div>
      )}
    </Loaded>
  );
}

interface Sample {
  at_ms: number;
  ended: number;
  submitted: number;
}

// The samples outlive the page: who comes back sees the same curve.
let taken: Sample[] = [];

function useProgress() {
  const [list, setList] = useState(taken);
  const now = useResource("progress", async (signal) => {
    const [row] = await rows(progressSql, [], signal);
    return { at_ms: Date.now(), ended: num(row?.["ended"]), submitted: num(row?.["submitted"]) };
  }, { every_ms: sample_ms });
  const sample = now.data;
  useEffect(() => {
    if (!sample || sample === taken.at(-1)) return;
    taken = [...taken, sample].slice(-samples - 1);
    setList(taken);
  }, [sample]);
  const per = (name: "ended" | "submitted") =>
    list.slice(1).map((s, i) => {
      const before = list[i] ?? s;
      return Math.max(0, (1000 * (s[name] - before[name])) / Math.max(1, s.at_ms - before.at_ms));
    });
  return { last: sample, endedPerSecond: per("ended"), submittedPerSecond: per("submitted") };
}

function MembersCard() {
  const c = cluster.value;
  if (!c) return <p class="dim" aria-busy="true">Reading…</p>;
  return (
    <>
      <ul class="plain">
        {c.members.map((m) => {
          const behind = lag(m, c.members);
          return (
            <li key={m.name} data-member={m.name}>
              {m.address === here ? <b>{m.name}</b> : <a href={pageAt(m.address)} title={m.address}>{m.name}</a>}
              {behind === undefined ? <Badge word="no answer" /> : <Badge word={roleName[m.role]} />}
              <span class="grow" />
              <span class="dim">{behind === undefined ? "" : behind === 0n ? "up to date" : `${plural(behind, "entry").replace("entrys", "entries")} behind`}</span>
            </li>
          );
        })}
      </ul>
      <p class="dim">Term {String(c.term)}, version {c.version}</p>
      <Seen />
    </>
  );
}

function Fleet({ of }: { of: Resource<Row[]> }) {
  return (
    <Loaded of={of}>
      {(list) => list.length === 0 ? <Empty>There is no node yet. <a href="#/nodes">How to add one</a></Empty> : (
        <div class="scroll" tabIndex={0} role="region" aria-label="Fleet">
          <table>
            <thead><tr><th>Provider</th><th>Region</th><th class="num">Nodes up</th><th>Slots</th><th>CPU</th><th>Memory</th><th>GPU</th><th class="num">$/h up</th><th class="num">used</th></tr></thead>
            <tbody>
              {list.map((r) => (
                <tr key={`${str(r["provider"])} ${str(r["region"])}`}>
                  <td>{str(r["provider"]) || "–"}</td>
                  <td>{str(r["region"]) || "–"}</td>
                  <td class="num">{str(r["up"])}/{str(r["nodes"])}</td>
                  <td><Part row={r} used="running" of="slots" label="Slots" /></td>
                  <td><Part row={r} used="cpu_used" of="cpu" label="CPU" /></td>
                  <td><Part row={r} used="memory_used" of="memory" label="Memory" /></td>
                  <td>{num(r["gpus"]) > 0 ? <Part row={r} used="gpus_used" of="gpus" label="GPU" /> : <span class="dim">none</span>}</td>
                  <td class="num">{dollars(num(r["price"]))}</td>
                  <td class="num">{dollars(num(r["price_used"]))}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Loaded>
  );
}

function Part({ row, used, of, label }: { row: Row; used: string; of: string; label: string }) {
  const part = num(row[used]) / Math.max(1, num(row[of]));
  return <Bar label={`${label} in use`} part={part} text={percent(part)} />;
}
