// Results beside each other: of a sweep, which setting is best.

import { useState } from "preact/hooks";

import { useResource } from "../resource";
import { href } from "../route";
import type { Cell } from "../sql";
import { rows, str } from "../sql";
import { tried } from "../store";
import { Empty, Loaded } from "../ui";

const atMost = 1000;
const maxColumns = 8;

export interface Which {
  queue: string;
  node: string;
  name: string;
  labels: Record<string, string>;
}

interface Result {
  id: string;
  name: string;
  node: string;
  values: Record<string, Cell>;
}

async function readResults(w: Which, signal: AbortSignal): Promise<Result[]> {
  const where = ["t.status = 'COMPLETED'"];
  const params: Cell[] = [];
  const also = (condition: string, ...values: string[]) => {
    where.push(condition);
    params.push(...values);
  };
  if (w.queue) also("t.queue = ?", w.queue);
  if (w.node) also("t.node_id = ?", w.node);
  if (w.name) also("t.name = ?", w.name);
  for (const [k, v] of Object.entries(w.labels)) also("EXISTS (SELECT 1 FROM json_each(t.labels) l WHERE l.key = ? AND l.value = ?)", k, v);
  const sql = `SELECT t.id, t.name, t.node_id, CAST(substr(o.result, 1, 4000) AS TEXT) AS result
FROM tasks t JOIN task_outputs o ON o.seq = t.seq WHERE ${where.join(" AND ")} AND o.result IS NOT NULL ORDER BY t.seq DESC LIMIT ${atMost}`;
  return (await rows(sql, params, signal)).map((r) => ({ id: str(r["id"]), name: str(r["name"]), node: str(r["node_id"]), values: valuesOf(str(r["result"])) }));
}

// valuesOf are the numbers and short texts of a result that is a JSON object.
function valuesOf(text: string): Record<string, Cell> {
  const value = tried(() => JSON.parse(text) as unknown);
  if (typeof value === "number" || typeof value === "string") return { result: value };
  if (typeof value !== "object" || value === null || Array.isArray(value)) return {};
  return Object.fromEntries(Object.entries(value).filter((e): e is [string, number | string] => typeof e[1] === "number" || (typeof e[1] === "string" && e[1].length <= 40)));
}

// Results is a table of what completed tasks returned; a press on a column sorts by it.
export function Results({ of }: { of: Which }) {
  const results = useResource(["results", of], (signal) => readResults(of, signal), { when: (b) => b.events.length > 0, every_ms: 15_000 });
  const [by, setBy] = useState<{ column: string; down: boolean }>();
  return (
    <Loaded of={results}>
      {(all) => {
        const list = all.filter((r) => Object.keys(r.values).length > 0);
        const columns = [...new Set(list.flatMap((r) => Object.keys(r.values)))].slice(0, maxColumns);
        if (list.length === 0) return <Empty>No task that matches has completed with a result that is a JSON object. For a command, a last line of output that is JSON is the result.</Empty>;
        const press = (column: string) => setBy({ column, down: by?.column === column ? !by.down : true });
        const sorted = by ? list.toSorted((a, b) => compare(a.values[by.column], b.values[by.column]) * (by.down ? -1 : 1)) : list;
        return (
          <>
            <p class="dim">What completed tasks returned, the newest {atMost.toLocaleString("en")} at most. Press the name of a column to sort by it, again to turn the order.</p>
            <div class="scroll" tabIndex={0} role="region" aria-label="Results">
              <table>
                <thead><tr><th>Task</th>{columns.map((c) => (
                  <th key={c} class="num" aria-sort={by?.column !== c ? "none" : by.down ? "descending" : "ascending"}><button type="button" class="sort" onClick={() => press(c)}>{c}{by?.column === c && (by.down ? " ↓" : " ↑")}</button></th>
                ))}<th>Node</th></tr></thead>
                <tbody>{sorted.map((r) => (
                  <tr key={r.id}>
                    <td><a data-row href={href(["tasks", r.id])} title={r.id}>{r.name || <code>{r.id}</code>}</a></td>
                    {columns.map((c) => <td key={c} class="num">{shownValue(r.values[c])}</td>)}
                    <td><a href={href(["nodes", r.node])}>{r.node}</a></td>
                  </tr>
                ))}</tbody>
              </table>
            </div>
          </>
        );
      }}
    </Loaded>
  );
}

const shownValue = (v: Cell | undefined): string => (typeof v === "number" ? String(Number(v.toPrecision(6))) : (v ?? ""));

// compare sorts numbers by size and texts by letters; what is missing is least.
function compare(a: Cell | undefined, b: Cell | undefined): number {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return a === undefined || b === undefined ? Number(b === undefined) - Number(a === undefined) : String(a).localeCompare(String(b));
}
