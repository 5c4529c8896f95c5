// Tasks: a table by filters that stand in the URL.

import { useEffect, useState } from "preact/hooks";

import type { Task } from "@raft-control-plane/stubs/controlplane/v1/task_pb.js";
import { Consistency } from "@raft-control-plane/stubs/controlplane/v1/task_pb.js";

import { problem, taskCalls } from "../call";
import { each } from "../each";
import { plural, span } from "../format";
import type { Batch } from "../live/events";
import { touchesTasks } from "../live/events";
import { onBatch } from "../live/live";
import { useResource } from "../resource";
import { href, route, setParam } from "../route";
import { rows } from "../sql";
import type { TaskRow } from "../task-row";
import { hasEnded, rowOf, rowOfSql, searchNameSql, searchSql, statusNames, statusOf } from "../task-row";
import { Ago, Action, Badge, Empty, Loaded, now, Problem, typed } from "../ui";
import { FirstSteps } from "./first";
import { Results } from "./results";

const pageSize = 100;

interface Filter {
  q: string;
  statuses: string[];
  queue: string;
  node: string;
  name: string;
  labels: string;
}

function filterOf(p: URLSearchParams): Filter {
  return {
    q: p.get("q") ?? "", statuses: p.getAll("status").filter((s) => (statusNames as readonly string[]).includes(s)),
    queue: p.get("queue") ?? "", node: p.get("node") ?? "", name: p.get("name") ?? "", labels: p.get("labels") ?? "",
  };
}

// labelsOf reads "team=vision,stage=test".
function labelsOf(text: string): Record<string, string> {
  return Object.fromEntries(text.split(",").filter((l) => l.includes("=")).map((l) => [l.slice(0, l.indexOf("=")).trim(), l.slice(l.indexOf("=") + 1).trim()]));
}

interface Page {
  rows: TaskRow[];
  next: string;
}

async function list(f: Filter, pageToken: string, signal?: AbortSignal): Promise<Page> {
  if (f.q) return search(f, signal);
  const { tasks, nextPageToken } = await taskCalls.listTasks(
    { statuses: f.statuses.map(statusOf), queue: f.queue, nodeId: f.node, name: f.name, labels: labelsOf(f.labels), pageSize, pageToken, consistency: Consistency.STALE },
    signal ? { signal } : {},
  );
  return { rows: tasks.map(rowOf), next: nextPageToken };
}

async function search(f: Filter, signal?: AbortSignal): Promise<Page> {
  const q = f.q.trim();
  const [byId, byName] = await Promise.all([rows(searchSql, [q], signal), rows(searchNameSql, [q], signal)]);
  const found = new Map([...byId, ...byName].map((r) => [String(r["id"]), rowOfSql(r)]));
  const fits = (r: TaskRow) => (f.statuses.length === 0 || f.statuses.includes(r.status)) && (!f.queue || r.queue === f.queue) && (!f.node || r.nodeId === f.node);
  return { rows: [...found.values()].filter(fits), next: "" };
}

export function TasksPage() {
  const filter = filterOf(route.value.params);
  const compares = route.value.params.get("view") === "results";
  return (
    <>
      <Filters filter={filter} />
      <div class="row views" role="group" aria-label="View">
        <button type="button" aria-pressed={!compares} onClick={() => setParam("view", "")}>Tasks</button>
        <button type="button" aria-pressed={compares} onClick={() => setParam("view", "results")}>Compare results</button>
      </div>
      {compares ? <Results of={{ queue: filter.queue, node: filter.node, name: filter.name, labels: labelsOf(filter.labels) }} /> : <List filter={filter} />}
    </>
  );
}

function List({ filter }: { filter: Filter }) {
  const key = JSON.stringify(filter);
  const first = useResource(["tasks", filter], (signal) => list(filter, "", signal), { when: touchesTasks, every_ms: 10_000 });
  const later = useLater(key, filter, first.data);
  const [selected, setSelected] = useState<ReadonlySet<string>>(new Set());
  useEffect(() => setSelected(new Set()), [key]);
  const filtered = Object.values(filter).some((v) => v.length > 0);
  return (
    <Loaded of={first}>
      {(page) => {
        const all = joined(page, later, filter);
        if (all.length === 0) return filtered ? <Empty>No task matches. <a href="#/tasks">Show all tasks</a></Empty> : <FirstSteps />;
        return (
          <>
            <Bulk rows={all} filter={filter} selected={selected} select={setSelected} />
            <TaskTable rows={all} selected={selected} select={setSelected} />
            <More page={page} later={later} />
          </>
        );
      }}
    </Loaded>
  );
}

interface Later {
  rows: TaskRow[];
  next: string | undefined;
  error: string;
  more: () => void;
}

// useLater holds the pages after the first, which are not read anew: their rows
// follow the changes that come.
function useLater(key: string, filter: Filter, first: Page | undefined): Later {
  const [state, setState] = useState<{ key: string; rows: TaskRow[]; next?: string; error: string }>({ key, rows: [], error: "" });
  const mine = state.key === key ? state : { key, rows: [], error: "" };
  useEffect(() => onBatch((b) => setState((s) => {
    if (s.rows.length === 0) return s;
    return b.gap ? { key: s.key, rows: [], error: "" } : { ...s, rows: updated(s.rows, b) }; // what was not told cannot be followed
  })), []);
  const token = mine.next ?? first?.next ?? "";
  const more = async () => {
    try {
      const page = await list(filter, token);
      setState({ key, rows: [...(mine.rows.length ? mine.rows : (first?.rows ?? [])), ...page.rows], next: page.next, error: "" });
    } catch (reason) {
      setState({ ...mine, error: problem(reason) });
    }
  };
  return { rows: mine.rows, next: token, error: mine.error, more: () => void more() };
}

function updated(old: TaskRow[], b: Batch): TaskRow[] {
  const changed = new Map<string, Task>();
  for (const e of b.events) if (e.subject.case === "task" && e.subject.value.task) changed.set(e.subject.value.taskId, e.subject.value.task);
  return changed.size === 0 ? old : old.map((r) => (changed.has(r.id) ? rowOf(changed.get(r.id) as Task) : r));
}

// joined puts what was read later, and still matches, behind the first page, which is
// newer.
function joined(first: Page, later: Later, filter: Filter): TaskRow[] {
  const there = new Set(first.rows.map((r) => r.id));
  const fits = (r: TaskRow) => filter.statuses.length === 0 || filter.statuses.includes(r.status);
  return [...first.rows, ...later.rows.filter((r) => !there.has(r.id) && fits(r))];
}

function More({ page, later }: { page: Page; later: Later }) {
  return (
    <div class="row">
      {later.error && <Problem text={later.error} />}
      {(later.next ?? page.next) ? <button type="button" onClick={later.more}>Show {pageSize} more</button> : <span class="dim">These are all.</span>}
    </div>
  );
}

function Filters({ filter }: { filter: Filter }) {
  const toggle = (s: string) => setParam("status", filter.statuses.includes(s) ? filter.statuses.filter((x) => x !== s) : [...filter.statuses, s]);
  const boxes: [name: "queue" | "node" | "name" | "labels", value: string, hint: string][] = [
    ["queue", filter.queue, "exact"], ["node", filter.node, "exact id"], ["name", filter.name, "exact"], ["labels", filter.labels, "team=vision,…"],
  ];
  return (
    <form class="filters" role="search" aria-label="Filters" onSubmit={(e) => e.preventDefault()}>
      <input type="search" aria-label="Search by id or name" placeholder="Search by id or name  ( / )" value={filter.q} onInput={typed((v) => setParam("q", v.trimStart()))} />
      <div class="chips" role="group" aria-label="Status">
        {statusNames.map((s) => <button type="button" key={s} class={`chip ${s.toLowerCase()}`} aria-pressed={filter.statuses.includes(s)} onClick={() => toggle(s)}>{s.toLowerCase()}</button>)}
      </div>
      {boxes.map(([name, value, hint]) => (
        <label key={name}>{name} <input type="text" placeholder={hint} value={value} disabled={filter.q !== "" && (name === "name" || name === "labels")} onChange={typed((v) => setParam(name, v.trim()))} /></label>
      ))}
    </form>
  );
}

type Select = (ids: ReadonlySet<string>) => void;

export function TaskTable({ rows, selected, select }: { rows: TaskRow[]; selected?: ReadonlySet<string>; select?: Select }) {
  const flip = (id: string) => {
    const next = new Set(selected);
    if (!next.delete(id)) next.add(id);
    select?.(next);
  };
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Tasks">
      <table>
        <thead>
          <tr>{select && <th><span class="hidden">Chosen</span></th>}<th>Task</th><th>Status</th><th>Queue</th><th>Node</th><th class="num">Attempt</th><th>Submitted</th><th class="num">Took</th><th>Note</th></tr>
        </thead>
        <tbody>
          {rows.map((r) => (
            <tr key={r.id}>
              {select && <td><input type="checkbox" aria-label={`Choose ${r.name || r.id}`} checked={selected?.has(r.id) ?? false} onChange={() => flip(r.id)} /></td>}
              <td><a data-row href={href(["tasks", r.id])} title={r.id}>{r.name || <code>{r.id}</code>}</a></td>
              <td><Badge word={r.status} /></td>
              <td><a href={href(["tasks"], { queue: r.queue })}>{r.queue}</a></td>
              <td>{r.nodeId && <a href={href(["nodes", r.nodeId])}>{r.nodeId}</a>}</td>
              <td class="num">{r.attempt || ""}</td>
              <td><Ago at={r.createTime_ms} /></td>
              <td class="num">{took(r)}</td>
              <td class="note" title={r.note}>{r.note}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function took(r: TaskRow): string {
  if (!r.startTime_ms || r.status === "PENDING") return "";
  if (r.endTime_ms) return span(Math.max(0, r.endTime_ms - r.startTime_ms));
  return span(Math.max(0, now.value - r.startTime_ms));
}

function Bulk({ rows: shown, filter, selected, select }: { rows: TaskRow[]; filter: Filter; selected: ReadonlySet<string>; select: Select }) {
  const [done, setDone] = useState("");
  const chosen = shown.filter((r) => selected.has(r.id));
  const open = chosen.filter((r) => !hasEnded(r.status)).map((r) => r.id);
  const again = chosen.filter((r) => canRetry(r.status)).map((r) => r.id);
  const stoppable = shown.some((r) => !hasEnded(r.status));
  const run = (work: () => Promise<string>) => async () => {
    setDone(await work());
    select(new Set());
  };
  return (
    <div class="row bulk">
      <button type="button" onClick={() => select(chosen.length === shown.length ? new Set() : new Set(shown.map((r) => r.id)))}>{chosen.length === shown.length ? "Choose none" : "Choose all shown"}</button>
      {open.length > 0 && (
        <Action danger label={`Cancel ${open.length}`} act={run(() => each(open, "task", "cancelled", (id) => taskCalls.cancelTask({ id })))}
          ask={`Cancel ${plural(open.length, "task")}? Those that run are stopped by their nodes. Cancelled tasks can be retried.`} />
      )}
      {again.length > 0 && (
        <Action label={`Retry ${again.length}`} act={run(() => each(again, "task", "put back to the queue", (id) => taskCalls.retryTask({ id })))}
          ask={`Put ${plural(again.length, "task")} back to the queue? Their attempts so far stay.`} />
      )}
      {chosen.length === 0 && stoppable && (
        <Action danger label="Cancel all that match" act={run(() => cancelMatching(filter, shown))}
          ask="Cancel all tasks that match the filters and have not ended, also those that are not shown? Those that run are stopped by their nodes." />
      )}
      <span role="status">{done}</span>
    </div>
  );
}

export const canRetry = (status: string): boolean => status === "FAILED" || status === "CANCELLED";

// cancelMatching leaves it to the control plane which tasks match; what was searched
// for is what is shown.
async function cancelMatching(f: Filter, shown: TaskRow[]): Promise<string> {
  const statuses = f.statuses.filter((s) => !hasEnded(s));
  if (f.q) return each(shown.filter((r) => !hasEnded(r.status)).map((r) => r.id), "task", "cancelled", (id) => taskCalls.cancelTask({ id }));
  let cancelled = 0;
  let stopping = 0;
  for (let pageToken = ""; ; ) {
    const labels = labelsOf(f.labels);
    const all = statuses.length === 0 && !f.queue && !f.node && !f.name && Object.keys(labels).length === 0;
    const page = await taskCalls.cancelTasks({ statuses: statuses.map(statusOf), queue: f.queue, nodeId: f.node, name: f.name, labels, all, pageToken });
    cancelled += page.cancelled;
    stopping += page.stopping;
    pageToken = page.nextPageToken;
    if (!pageToken) return `${plural(cancelled, "task")} cancelled${stopping ? `, ${stopping} being stopped by their nodes` : ""}`;
  }
}
