// One task: where it stands and why, its tries on a line of time, what it was given
// and what it left.

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";

import type { Task } from "@raft-control-plane/stubs/controlplane/v1/task_pb.js";
import { Consistency, LabelOperator, SpotUse } from "@raft-control-plane/stubs/controlplane/v1/task_pb.js";

import { taskCalls } from "../call";
import { bytes, cores, dollars, durationMs, exact, ms, readable, span } from "../format";
import { Json } from "../json";
import { touchesTask } from "../live/events";
import type { Resource } from "../resource";
import { useResource } from "../resource";
import { href } from "../route";
import type { Row } from "../sql";
import { num, rows, str } from "../sql";
import { hasEnded, partOf, progressText, statusName } from "../task-row";
import { Action, Ago, Badge, Card, Dialog, Empty, Facts, Labels, Loaded, now, Problem } from "../ui";
import { Waiting } from "./explain";
import { historySql } from "./history";
import { LiveLog } from "./log";
import { canRetry } from "./tasks";

const attemptsSql = `SELECT attempt, node_id, status, assign_time_ms, start_time_ms, end_time_ms, exit_code, error, substr(log_tail, -4000) AS log_tail
FROM attempts WHERE task_id = ?1 ORDER BY attempt LIMIT 200`;

export function TaskPage({ id }: { id: string }) {
  const when = touchesTask(id);
  const task = useResource(["task", id], async (signal) => (await taskCalls.getTask({ id, consistency: Consistency.STALE }, { signal })).task, { when, every_ms: 5_000 });
  const tries = useResource(["tries", id], (signal) => rows(attemptsSql, [id], signal), { when });
  const history = useResource(["history", id], (signal) => rows(historySql, [id], signal), { when });
  return (
    <>
      <p class="crumbs"><a href="#/tasks">Tasks</a> / <code>{id}</code></p>
      <Loaded of={task}>{(t) => (t ? <Shown task={t} tries={tries} history={history} /> : <Empty>There is no such task.</Empty>)}</Loaded>
    </>
  );
}

function Shown({ task: t, tries, history }: { task: Task; tries: Resource<Row[]>; history: Resource<Row[]> }) {
  const status = statusName(t.status);
  return (
    <>
      <div class="row head">
        <h2 class="title">{t.name || t.id}</h2>
        <Badge word={status} />
        {t.cancelRequested && !hasEnded(status) && <span class="dim">is being stopped by its node</span>}
        <span class="grow" />
        {!hasEnded(status) && !t.cancelRequested && (
          <Action danger label="Cancel" act={() => taskCalls.cancelTask({ id: t.id })} ask={`Cancel ${t.name || t.id}? ${status === "RUNNING" ? "Its node stops it." : "It will not run."} It can be retried.`} />
        )}
        {canRetry(status) && <Action label="Retry" act={() => taskCalls.retryTask({ id: t.id })} ask={`Put ${t.name || t.id} back to its queue? Its attempts so far stay.`} />}
      </div>
      {status === "PENDING" && <Waiting id={t.id} />}
      {t.error && <Problem text={t.error} />}
      {t.progress && status !== "COMPLETED" && <Progress task={t} />}
      <div class="grid">
        <Card title="Timeline" wide><Timeline task={t} tries={tries} /></Card>
        <Card title="What it is"><About task={t} /></Card>
        <Card title={t.work.case === "function" ? "Function" : "Command"}><Work task={t} /></Card>
        <Card title="Result">{t.result.length > 0 ? <Json text={readable(t.result)} /> : <Empty>{hasEnded(status) ? "It left no result. For a command, a last line of output that is JSON is the result." : "There is none before it has ended."}</Empty>}</Card>
        {status === "RUNNING" ? <Card title="Live log"><LiveLog key={t.attempt} task={t.id} attempt={t.attempt} /></Card> : <Card title="End of its output">{t.logTail ? <Log text={t.logTail} /> : <Empty>{hasEnded(status) ? "It printed nothing." : "It comes while an attempt runs."}</Empty>}</Card>}
        <Card title="History" wide><History of={history} /></Card>
      </div>
    </>
  );
}

// Progress is how far the present or last attempt is, as it last said.
function Progress({ task: t }: { task: Task }) {
  const part = t.progress && partOf(t.progress);
  return (
    <div class="row" role="status">
      {part !== undefined && <progress max={1} value={part} aria-label="Progress" />}
      <span>{progressText(t.progress)}</span>
      <span class="dim">said <Ago at={ms(t.progressTime)} /></span>
    </div>
  );
}

function About({ task: t }: { task: Task }) {
  const r = t.resources;
  const custom = Object.entries(r?.custom ?? {}).map(([k, v]) => `${String(v)} ${k}`);
  const needs = [r?.cpuMillis ? `${cores(r.cpuMillis)} cores` : "", r?.memoryBytes ? bytes(r.memoryBytes) : "", r?.gpus ? `${r.gpus} GPU` : "", r?.diskBytes ? `${bytes(r.diskBytes)} of disk` : "", ...custom].filter(Boolean);
  const facts: [string, ComponentChildren][] = [
    ["Id", <code>{t.id}</code>],
    ["Queue", <a href={href(["tasks"], { queue: t.queue })}>{t.queue}</a>],
    ["Priority", String(t.priority)],
    ["Node", t.nodeId && <a href={href(["nodes", t.nodeId])}>{t.nodeId}</a>],
    ["Needs", needs.join(", ") || "one slot"],
    ["Only on", constraintsOf(t)],
    ["GPUs it holds", t.gpuDevices.join(", ")],
    ["Attempt", t.attempt ? `${t.attempt} (${t.failedAttempts} of ${t.maxAttempts || 1} failed, ${t.lostAttempts} of ${t.maxLostAttempts || 5} lost)` : "none yet"],
    ["Exit code", t.exitCode !== undefined ? String(t.exitCode) : ""],
    ["Timeout", t.timeout ? span(durationMs(t.timeout)) : ""],
    ["Stopped without progress for", t.noProgressTimeout ? span(durationMs(t.noProgressTimeout)) : ""],
    ["Concurrency key", t.concurrencyKey && `${t.concurrencyKey} (${t.maxConcurrency || 1} at once)`],
    ["Labels", Object.keys(t.labels).length > 0 && <Labels of={t.labels} link={(labels) => href(["tasks"], { labels })} />],
    ["Submitted", <Ago at={ms(t.createTime)} />],
    ["Ended", t.endTime && <Ago at={ms(t.endTime)} />],
  ];
  return <Facts of={facts} />;
}

// constraintsOf says on which nodes it may run.
function constraintsOf(t: Task): string {
  const c = t.constraints;
  if (!c) return "";
  const labels = c.labels.map((l) => `${l.key} ${LabelOperator[l.operator]?.toLowerCase().replaceAll("_", " ") ?? ""} ${l.values.join(", ")}`.trim());
  const spot = { [SpotUse.UNSPECIFIED]: "", [SpotUse.ALLOWED]: "", [SpotUse.ONLY]: "spot machines", [SpotUse.NEVER]: "no spot machines" }[c.spot];
  return [
    c.nodeId && `node ${c.nodeId}`, c.providers.join(" or "), c.regions.join(" or "), c.zones.join(" or "), c.instanceTypes.join(" or "), ...labels, spot,
    c.maxPriceMicrosPerHour ? `at most ${dollars(c.maxPriceMicrosPerHour)} an hour` : "", c.gpuModels.join(" or "),
    c.minGpuMemoryBytes ? `GPUs with ${bytes(c.minGpuMemoryBytes)}` : "", c.preferredRegions.length ? `best in ${c.preferredRegions.join(" or ")}` : "",
  ].filter(Boolean).join("; ");
}

function Work({ task: t }: { task: Task }) {
  switch (t.work.case) {
    case "exec": {
      const { command, env, workingDir } = t.work.value;
      return (
        <>
          <pre class="text" tabIndex={0}>{command.map(quote).join(" ")}</pre>
          {workingDir && <p>in <code>{workingDir}</code></p>}
          {Object.keys(env).length > 0 && <details><summary>{Object.keys(env).length} variables</summary><pre class="text">{Object.entries(env).map(([k, v]) => `${k}=${v}`).join("\n")}</pre></details>}
        </>
      );
    }
    case "function": {
      const { name, payload } = t.work.value;
      return <><p><code>{name}</code></p>{payload.length > 0 ? <Json text={readable(payload)} /> : <p class="dim">without an argument</p>}</>;
    }
    default:
      return null;
  }
}

const quote = (arg: string): string => (/^[\w@%+=:,./-]+$/.test(arg) ? arg : `'${arg.replaceAll("'", `'\\''`)}'`);

const toEnd = (e: HTMLElement | null) => {
  if (e) e.scrollTop = e.scrollHeight;
};

function Log({ text }: { text: string }) {
  return <pre class="text log" tabIndex={0} ref={toEnd}>{text}</pre>;
}

interface Part {
  kind: string;
  from_ms: number;
  to_ms: number;
}

// Timeline draws the waits and the tries from the submission to the end, or to now.
function Timeline({ task: t, tries }: { task: Task; tries: Resource<Row[]> }) {
  const begun = ms(t.createTime);
  const list = tries.data ?? [];
  const lastEnd = Math.max(ms(t.endTime), ...list.map((a) => num(a["end_time_ms"])));
  const end = Math.max(begun + 1, hasEnded(statusName(t.status)) ? lastEnd : now.value);
  const lines = list.map((a) => ({ row: a, parts: partsOf(a, end) }));
  return (
    <>
      {tries.error && <Problem text={tries.error} retry={tries.reload} />}
      <div class="timeline">
        <div class="scale"><span title={exact(begun)}>submitted</span><span title={exact(end)}>{span(end - begun)}{hasEnded(statusName(t.status)) ? "" : " so far"}</span></div>
        {lines.length === 0 && <Line label="waits" title="It has not been tried yet" parts={[{ kind: "pending", from_ms: begun, to_ms: end }]} begun={begun} end={end} />}
        {lines.map(({ row, parts }, i) => {
          const previous = i === 0 ? begun : num(lines[i - 1]?.row["end_time_ms"]) || begun;
          const given = num(row["assign_time_ms"]) || num(row["start_time_ms"]);
          return (
            <Line key={str(row["attempt"])} label={`attempt ${str(row["attempt"])}`} begun={begun} end={end}
              title={`attempt ${str(row["attempt"])} on ${str(row["node_id"])}: ${str(row["status"]).toLowerCase()}${row["error"] ? ", " + str(row["error"]) : ""}`}
              parts={[{ kind: "pending", from_ms: previous, to_ms: given }, ...parts]} />
          );
        })}
      </div>
      {list.length > 0 && <Tries list={list} />}
    </>
  );
}

function partsOf(a: Row, end: number): Part[] {
  const assigned = num(a["assign_time_ms"]);
  const started = num(a["start_time_ms"]);
  const ended = num(a["end_time_ms"]) || end;
  if (!started) return [{ kind: "assigned", from_ms: assigned, to_ms: ended }];
  return [
    { kind: "assigned", from_ms: assigned || started, to_ms: started },
    { kind: str(a["status"]).toLowerCase(), from_ms: started, to_ms: ended },
  ];
}

function Line({ label, title, parts, begun, end }: { label: string; title: string; parts: Part[]; begun: number; end: number }) {
  const at = (t: number) => (100 * (t - begun)) / (end - begun);
  return (
    <div class="line" role="img" aria-label={title} title={title}>
      <span>{label}</span>
      <div class="track">
        {parts.filter((p) => p.to_ms >= p.from_ms).map((p, i) => (
          <div key={i} class={`part ${p.kind}`} title={`${p.kind} for ${span(p.to_ms - p.from_ms)}`} style={{ left: `${at(p.from_ms)}%`, width: `max(2px, ${at(p.to_ms) - at(p.from_ms)}%)` }} />
        ))}
      </div>
    </div>
  );
}

function Tries({ list }: { list: Row[] }) {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Attempts">
      <table>
        <thead><tr><th class="num">Attempt</th><th>Status</th><th>Node</th><th>Given to it</th><th class="num">Ran for</th><th class="num">Exit code</th><th>Why</th><th>Output</th></tr></thead>
        <tbody>
          {list.toReversed().map((a) => (
            <tr key={str(a["attempt"])}>
              <td class="num">{str(a["attempt"])}</td>
              <td><Badge word={str(a["status"])} /></td>
              <td><a href={href(["nodes", str(a["node_id"])])}>{str(a["node_id"])}</a></td>
              <td><Ago at={num(a["assign_time_ms"])} /></td>
              <td class="num">{a["start_time_ms"] ? span((num(a["end_time_ms"]) || now.value) - num(a["start_time_ms"])) : ""}</td>
              <td class="num">{str(a["exit_code"])}</td>
              <td class="note" title={str(a["error"])}>{str(a["error"])}</td>
              <td>{a["log_tail"] && <Output attempt={str(a["attempt"])} text={str(a["log_tail"])} />}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Output({ attempt, text }: { attempt: string; text: string }) {
  const [open, setOpen] = useState(false);
  return (
    <>
      <button type="button" aria-label={`Show the output of attempt ${attempt}`} onClick={() => setOpen(true)}>Show</button>
      {open && (
        <Dialog title={`End of the output of attempt ${attempt}`} close={() => setOpen(false)}>
          <Log text={text} />
          <div class="row end"><button type="button" onClick={() => setOpen(false)}>Close</button></div>
        </Dialog>
      )}
    </>
  );
}

function History({ of }: { of: Resource<Row[]> }) {
  return (
    <Loaded of={of}>
      {(list) => list.length === 0 ? <Empty>Its changes are no longer kept.</Empty> : (
        <ol class="history">
          {list.map((e) => (
            <li key={`${str(e["log_index"])}-${str(e["ordinal"])}`}>
              <Ago at={num(e["time_ms"])} />
              <span>{str(e["type"]).replace("TASK_", "").toLowerCase().replaceAll("_", " ")}{num(e["attempt"]) > 0 && `, attempt ${str(e["attempt"])}`}{e["node_id"] && <> on <a href={href(["nodes", str(e["node_id"])])}>{str(e["node_id"])}</a></>}{e["reason"] && <span class="dim"> ({str(e["reason"])})</span>}</span>
            </li>
          ))}
        </ol>
      )}
    </Loaded>
  );
}
