// SQL: questions to the state.

import { useEffect, useState } from "preact/hooks";

import { Consistency } from "@raft-control-plane/stubs/controlplane/v1/task_pb.js";

import { problem } from "../call";
import { Columns } from "../chart";
import { count, plural } from "../format";
import { useResource } from "../resource";
import { route, setParam } from "../route";
import type { Cell, Row, Table } from "../sql";
import { rows, str, table } from "../sql";
import { recall, remember, tried } from "../store";
import { Card, Empty, Loaded, Problem, save, typed } from "../ui";
import { examples } from "./examples";

const schemaSql = `SELECT m.name, m.type, c.name AS column, c.type AS kind
FROM sqlite_schema m JOIN pragma_table_info(m.name) c
WHERE m.type IN ('table', 'view') AND m.name NOT LIKE 'sqlite_%' ORDER BY m.type DESC, m.name, c.cid`;

const shownRows = 500;
const chartRows = 200;

interface Answer {
  table?: Table;
  error?: string;
  took_ms?: number;
}

export function SqlPage() {
  const asked = route.value.params.get("q");
  const [text, setText] = useState(asked ?? (recall("sql") || (examples[0]?.sql ?? "")));
  const [level, setLevel] = useState("linearizable");
  const [answer, setAnswer] = useState<Answer>();
  const [busy, setBusy] = useState(false);
  useEffect(() => {
    if (asked !== null && asked !== text) setText(asked);
  }, [asked]);
  const run = async (sql: string) => {
    if (!sql.trim() || busy) return;
    setBusy(true);
    remember("sql", sql);
    setParam("q", sql); // the link to this page asks the same; it is not run by opening it
    const begun = performance.now();
    const consistency = level === "stale" ? Consistency.STALE : Consistency.LINEARIZABLE;
    setAnswer(await table(sql, [], consistency).then((t) => ({ table: t, took_ms: performance.now() - begun }), (reason: unknown) => ({ error: problem(reason) })));
    setBusy(false);
  };
  return (
    <div class="sql">
      <div class="editor">
        <textarea aria-label="Statement" spellcheck={false} rows={7} value={text} onInput={typed(setText)}
          onKeyDown={(e) => (e.ctrlKey || e.metaKey) && e.key === "Enter" && void run(text)} />
        <div class="row">
          <button type="button" class="solid" disabled={busy} onClick={() => void run(text)}>{busy ? "Running…" : "Run"}</button>
          <label>consistency <select value={level} onChange={typed(setLevel)}><option value="linearizable">linearizable</option><option value="stale">stale</option></select></label>
          <Saved text={text} choose={setText} />
        </div>
        <p class="dim">One statement that reads. It is stopped after 2 s, 10,000 rows or 4 MiB. Stale answers come from this member's own copy, also without a leader.</p>
        <div aria-live="polite">{answer?.error && <Problem text={answer.error} />}{answer?.table && <Result of={answer.table} took_ms={answer.took_ms ?? 0} />}</div>
      </div>
      <Schema choose={(name) => setText(`SELECT * FROM ${name} LIMIT 100`)} />
    </div>
  );
}

interface SavedQuery {
  name: string;
  sql: string;
}

// Saved are the examples, and what the user has kept in this browser.
function Saved({ text, choose }: { text: string; choose: (sql: string) => void }) {
  const [own, setOwn] = useState<SavedQuery[]>(() => tried(() => JSON.parse(recall("queries")) as SavedQuery[]) ?? []);
  const [name, setName] = useState("");
  const keep = (list: SavedQuery[]) => {
    setOwn(list);
    remember("queries", JSON.stringify(list));
  };
  const add = () => {
    keep([...own.filter((q) => q.name !== name), { name, sql: text }]);
    setName("");
  };
  return (
    <>
      <label>questions <select value="" onChange={typed((n) => choose([...own, ...examples].find((q) => q.name === n)?.sql ?? text))}>
        <option value="">choose one…</option>
        {own.length > 0 && <optgroup label="Yours">{own.map((q) => <option key={q.name}>{q.name}</option>)}</optgroup>}
        <optgroup label="Examples">{examples.map((q) => <option key={q.name}>{q.name}</option>)}</optgroup>
      </select></label>
      <label>keep it as <input type="text" value={name} maxLength={60} onInput={typed(setName)} /></label>
      <button type="button" disabled={!name} onClick={add}>Keep</button>
      {own.some((q) => q.name === name) && <button type="button" onClick={() => keep(own.filter((q) => q.name !== name))}>Forget</button>}
    </>
  );
}

function Result({ of, took_ms }: { of: Table; took_ms: number }) {
  const [chart, setChart] = useState(false);
  const objects = () => of.rows.map((r) => Object.fromEntries(of.columns.map((c, i) => [c, r[i]])));
  return (
    <>
      <div class="row">
        <span>{plural(of.rows.length, "row")}{of.truncated && ", cut off at the limit"}, {Math.round(took_ms)} ms, as of log index {String(of.appliedIndex)}</span>
        <span class="grow" />
        <button type="button" aria-pressed={chart} disabled={numeric(of).length === 0} onClick={() => setChart(!chart)}>Chart</button>
        <button type="button" onClick={() => save("answer.csv", [csv(of)], "text/csv")}>CSV</button>
        <button type="button" onClick={() => save("answer.json", [JSON.stringify(objects(), null, 1)], "application/json")}>JSON</button>
      </div>
      {chart && <Chart of={of} />}
      {of.rows.length === 0 ? <Empty>No rows.</Empty> : (
        <div class="scroll tall" tabIndex={0} role="region" aria-label="Answer">
          <table>
            <thead><tr>{of.columns.map((c, i) => <th key={i}>{c}</th>)}</tr></thead>
            <tbody>{of.rows.slice(0, shownRows).map((r, i) => <tr key={i}>{r.map((v, j) => <td key={j} class={typeof v === "number" ? "num" : "cell"}>{v === null ? <span class="dim">null</span> : String(v)}</td>)}</tr>)}</tbody>
          </table>
          {of.rows.length > shownRows && <p class="dim">{count(of.rows.length - shownRows)} more are in the CSV and the JSON.</p>}
        </div>
      )}
    </>
  );
}

// numeric are the columns that a chart can show.
const numeric = (t: Table): number[] => t.columns.map((_, i) => i).filter((i) => t.rows.length > 0 && t.rows.every((r) => r[i] === null || typeof r[i] === "number"));

function Chart({ of }: { of: Table }) {
  const numbers = numeric(of);
  const name = of.columns.findIndex((_, i) => !numbers.includes(i));
  const x = name >= 0 ? name : 0;
  const some = of.rows.slice(0, chartRows);
  const series = numbers.filter((i) => i !== x || numbers.length === 1).slice(0, 4).map((i) => ({ name: of.columns[i] ?? "", values: some.map((r) => Number(r[i] ?? 0)) }));
  return <Columns label="Answer" labels={some.map((r) => String(r[x] ?? ""))} series={series} />;
}

function csv(t: Table): string {
  const field = (v: Cell) => {
    const text = v === null ? "" : String(v);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [t.columns, ...t.rows].map((r) => r.map(field).join(",")).join("\r\n") + "\r\n";
}

function Schema({ choose }: { choose: (name: string) => void }) {
  const schema = useResource("schema", (signal) => rows(schemaSql, [], signal));
  return (
    <Card title="Tables and views">
      <Loaded of={schema}>
        {(list) => {
          const byName = new Map<string, Row[]>();
          for (const r of list) byName.set(str(r["name"]), [...(byName.get(str(r["name"])) ?? []), r]);
          return (
            <div class="schema">{[...byName].map(([name, columns]) => (
              <details key={name}>
                <summary>{name} {columns[0]?.["type"] === "view" && <span class="label">view</span>}</summary>
                <ul>{columns.map((c) => <li key={str(c["column"])}><code>{str(c["column"])}</code> <span class="dim">{str(c["kind"]).toLowerCase()}</span></li>)}</ul>
                <button type="button" onClick={() => choose(name)}>Ask for its rows</button>
              </details>
            ))}</div>
          );
        }}
      </Loaded>
    </Card>
  );
}
