// Taking nodes out of use, and back, and forgetting those that are gone: one, or those that are chosen.

import { useState } from "preact/hooks";

import { NodeStatus, type Node } from "@raft-control-plane/stubs/controlplane/v1/node_pb.js";

import { nodeCalls } from "../call";
import { each } from "../each";
import { plural } from "../format";
import { Action, Bar, typed } from "../ui";

const deadlines: [words: string, s: bigint | undefined][] = [
  ["as long as they take", undefined], ["for 1 min", 60n], ["for 10 min", 600n], ["for 1 h", 3600n], ["for 24 h", 86_400n], ["not at all", 0n],
];

const mayCordon = (n: Node) => n.schedulable && !n.drain;
const mayDrain = (n: Node) => !n.drain;
const mayReturn = (n: Node) => !n.schedulable || !!n.drain || !!n.probationEndTime;
const mayRemove = (n: Node) => n.status !== NodeStatus.HEALTHY && n.runningTasks === 0;

// Scheduling has the buttons for some nodes: those that would change nothing of any of
// them are left out.
export function Scheduling({ nodes, done }: { nodes: Node[]; done: (told: string) => void }) {
  const [choice, setChoice] = useState(0);
  const seconds = deadlines[choice]?.[1];
  const one = nodes.length === 1;
  const act = (of: Node[], what: string, call: (id: string) => Promise<unknown>) => () => each(of.map((n) => n.id), "node", what, call).then(done);
  const label = (word: string, of: Node[]) => (one ? word : `${word} ${of.length}`);
  const names = (of: Node[]) => (of.length === 1 ? (of[0]?.id ?? "") : plural(of.length, "node"));
  const [cordon, drain, back, gone] = [nodes.filter(mayCordon), nodes.filter(mayDrain), nodes.filter(mayReturn), nodes.filter(mayRemove)];
  return (
    <>
      {cordon.length > 0 && (
        <Action label={label("Cordon", cordon)} act={act(cordon, "cordoned", (id) => nodeCalls.cordonNode({ id }))} ask={`Give ${names(cordon)} no new tasks? What runs there goes on.`} />
      )}
      {drain.length > 0 && (
        <Action danger label={label("Drain", drain)} act={act(drain, "being drained", (id) => nodeCalls.drainNode({ id, ...(seconds === undefined ? {} : { deadline: { seconds } }) }))}
          ask={`Give ${names(drain)} no new tasks, and take the work off? What is stopped runs elsewhere, and counts neither as a failure nor as a loss.`}
          more={<label>Wait for what runs <select value={choice} onChange={typed((v) => setChoice(Number(v)))}>{deadlines.map(([words], i) => <option key={words} value={i}>{words}</option>)}</select></label>} />
      )}
      {back.length > 0 && (
        <Action label={one ? "Give it tasks again" : `Give tasks again to ${back.length}`} act={act(back, "given tasks again", (id) => nodeCalls.uncordonNode({ id }))} />
      )}
      {gone.length > 0 && (
        <Action danger label={label("Remove", gone)} act={act(gone, "removed", (id) => nodeCalls.removeNode({ id }))}
          ask={`Forget ${names(gone)}, with ${gone.length === 1 ? "its" : "their"} cordon? Tasks keep the name. What is heard again registers anew.`} />
      )}
    </>
  );
}

// DrainBar shows how much of what a node had when its drain began is off it.
export function DrainBar({ node: n }: { node: Node }) {
  if (!n.drain) return null;
  const all = Math.max(n.drain.initialTasks, n.runningTasks);
  const off = all - n.runningTasks;
  return <Bar label="Drained" part={all > 0 ? off / all : 1} text={all > 0 ? `${off} of ${plural(all, "task")} off it` : "it had no tasks"} />;
}
