// What went wrong lately.

import { href } from "../route";
import type { Row } from "../sql";
import { num, str } from "../sql";
import { Ago, Badge, Empty } from "../ui";

export const failuresSql = (where: string, limit: number): string =>
  `SELECT end_time_ms, task_id, name, attempt, node_id, status, exit_code, error, final FROM v_recent_failures ${where} LIMIT ${limit}`;

export function Failures({ list }: { list: Row[] }) {
  if (list.length === 0) return <Empty>Nothing failed.</Empty>;
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Failures">
      <table>
        <thead><tr><th>When</th><th>Task</th><th>How</th><th>Node</th><th class="num">Attempt</th><th>Why</th></tr></thead>
        <tbody>
          {list.map((f) => (
            <tr key={`${str(f["task_id"])} ${str(f["attempt"])}`}>
              <td><Ago at={num(f["end_time_ms"])} /></td>
              <td><a data-row href={href(["tasks", str(f["task_id"])])}>{str(f["name"]) || str(f["task_id"])}</a></td>
              <td><Badge word={str(f["status"])} />{num(f["final"]) === 0 && <span class="dim"> tried again</span>}</td>
              <td>{f["node_id"] && <a href={href(["nodes", str(f["node_id"])])}>{str(f["node_id"])}</a>}</td>
              <td class="num">{str(f["attempt"])}</td>
              <td class="note" title={str(f["error"])}>{str(f["error"]) || (f["exit_code"] !== null && `exit code ${str(f["exit_code"])}`)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
