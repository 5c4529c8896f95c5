// Why a task waits, in the scheduler's own words.

import { taskCalls } from "../call";
import { count, plural } from "../format";
import { touchesTask } from "../live/events";
import { useResource } from "../resource";
import { href } from "../route";
import { Problem } from "../ui";

// What a task waits for changes with other tasks, with nodes and with time.
const every_ms = 3000;

export function Waiting({ id }: { id: string }) {
  const why = useResource(["why", id], (signal) => taskCalls.explainTask({ id }, { signal }), { when: touchesTask(id), every_ms });
  const w = why.data;
  return (
    <section class="banner note" aria-label="Why it waits">
      {why.error && <Problem text={why.error} retry={why.reload} />}
      {!w ? <span class="dim">Asking the leader why it waits…</span> : (
        <div>
          <p><b>{w.summary}</b></p>
          {w.tasksAhead > 0 && <p>{plural(w.tasksAhead, "task")} of its queue {w.tasksAhead === 1 ? "comes" : "come"} before it.</p>}
          {w.rejections.length > 0 && (
            <ul>{w.rejections.map((r) => (
              <li key={r.reason}>{count(r.nodes)} of {plural(w.nodes, "node")}: {r.message} <span class="dim">({r.nodeIds.map((n, i) => <>{i > 0 && ", "}<a href={href(["nodes", n])}>{n}</a></>)}{r.nodes > r.nodeIds.length && ", …"})</span></li>
            ))}</ul>
          )}
          {w.nearestMiss && <p>The closest is <a href={href(["nodes", w.nearestMiss.nodeId])}>{w.nearestMiss.nodeId}</a>: {w.nearestMiss.message}.</p>}
        </div>
      )}
    </section>
  );
}
