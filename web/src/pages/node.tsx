// One node: what it is, what runs on it, and what failed there.

import type { ComponentChildren } from "preact";

import type { Node } from "@raft-control-plane/stubs/controlplane/v1/node_pb.js";
import { Consistency, TaskStatus } from "@raft-control-plane/stubs/controlplane/v1/task_pb.js";

import { nodeCalls, taskCalls } from "../call";
import { bytes, cores, ms } from "../format";
import { touchesNode } from "../live/events";
import { useResource } from "../resource";
import { href } from "../route";
import { num, rows, str } from "../sql";
import { rowOf } from "../task-row";
import { Ago, Bar, Card, Empty, Facts, Labels, Loaded } from "../ui";
import { Failures, failuresSql } from "./failures";
import { Cpu, Disk, Gpus, Memory, NodeBadge, priceOf, Slots } from "./nodes";
import { DrainBar, Scheduling } from "./scheduling";
import { TaskTable } from "./tasks";

const gpusSql = `SELECT g.device_index, g.model, g.memory_bytes, t.id, t.name
FROM node_gpus g LEFT JOIN tasks t ON t.seq = g.task_seq WHERE g.node_id = ?1 ORDER BY g.device_index`;

export function NodePage({ id }: { id: string }) {
  const when = touchesNode(id);
  const node = useResource(["node", id], async (signal) => (await nodeCalls.getNode({ id, consistency: Consistency.STALE }, { signal })).node, { when, every_ms: 5000 });
  const tasks = useResource(["node tasks", id], async (signal) => {
    const { tasks } = await taskCalls.listTasks({ nodeId: id, statuses: [TaskStatus.ASSIGNED, TaskStatus.RUNNING], pageSize: 200, consistency: Consistency.STALE }, { signal });
    return tasks.map(rowOf);
  }, { when });
  const gpus = useResource(["node gpus", id], (signal) => rows(gpusSql, [id], signal), { when });
  const failures = useResource(["node failures", id], (signal) => rows(failuresSql("WHERE node_id = ?1", 20), [id], signal), { when });
  return (
    <>
      <p class="crumbs"><a href="#/nodes">Nodes</a> / <code>{id}</code></p>
      <Loaded of={node}>
        {(n) => !n ? <Empty>There is no such node.</Empty> : (
          <>
            <div class="row head"><h2 class="title">{n.id}</h2><NodeBadge node={n} /><span class="grow" /><Scheduling nodes={[n]} done={node.reload} /></div>
            <div class="grid">
              <Card title="In use"><div class="bars"><Use node={n} /></div></Card>
              <Card title="What it is"><About node={n} /></Card>
              {(n.spec?.capacity?.gpus ?? 0) > 0 && (
                <Card title="GPUs" wide>
                  <Loaded of={gpus}>{(list) => <ul class="plain">{list.map((g) => (
                    <li key={str(g["device_index"])}><Bar label={`GPU ${str(g["device_index"])}`} part={g["id"] ? 1 : 0} text={`GPU ${str(g["device_index"])}`} /> {str(g["model"])} {num(g["memory_bytes"]) > 0 && bytes(num(g["memory_bytes"]))} {g["id"] ? <a href={href(["tasks", str(g["id"])])}>{str(g["name"]) || str(g["id"])}</a> : <span class="dim">free</span>}</li>
                  ))}</ul>}</Loaded>
                </Card>
              )}
              <Card title="Runs now" wide more={<a href={href(["tasks"], { node: n.id })}>All its tasks</a>}>
                <Loaded of={tasks}>{(list) => (list.length > 0 ? <TaskTable rows={list} /> : <Empty>Nothing runs on it.</Empty>)}</Loaded>
              </Card>
              <Card title="Failed on it lately" wide><Loaded of={failures}>{(list) => <Failures list={list} />}</Loaded></Card>
            </div>
          </>
        )}
      </Loaded>
    </>
  );
}

function Use({ node: n }: { node: Node }) {
  const custom = Object.entries(n.spec?.capacity?.custom ?? {});
  const measured: [string, string][] = [["CPU measured", `${cores(n.usage?.cpuMillis ?? 0)} cores`], ["Memory measured", bytes(n.usage?.memoryBytes ?? 0)]];
  return (
    <>
      <Facts of={[["Slots", <Slots node={n} />], ["CPU reserved", <Cpu node={n} />], ["Memory reserved", <Memory node={n} />], ["Disk reserved", n.spec?.capacity?.diskBytes ? <Disk node={n} /> : ""], ["GPUs", <Gpus node={n} />]]} />
      {custom.length > 0 && <Facts of={custom.map(([name, has]) => [name, <Bar label={name} part={Number(n.reserved?.custom[name] ?? 0) / Number(has)} text={`${String(n.reserved?.custom[name] ?? 0)}/${String(has)}`} />])} />}
      <Facts of={measured} />
    </>
  );
}

function About({ node: n }: { node: Node }) {
  const s = n.spec;
  const facts: [string, ComponentChildren][] = [
    ["Place", [s?.provider, s?.region, s?.zone].filter(Boolean).join(", ")],
    ["Instance type", s?.instanceType],
    ["Price", priceOf(n) && `${priceOf(n)} an hour${s?.spot ? ", spot" : ""}`],
    ["Runs", [s?.exec ? "commands" : "", ...(s?.functions ?? [])].filter(Boolean).join(", ")],
    ["Labels", Object.keys(s?.labels ?? {}).length > 0 && <Labels of={s?.labels ?? {}} />],
    ["Version", s?.version],
    ["Drain", n.drain && <><DrainBar node={n} />began <Ago at={ms(n.drain.startTime)} />{n.drain.deadline && <>, stops them <Ago at={ms(n.drain.deadline)} /></>}</>],
    ["Is taken away", n.terminatingTime && <Ago at={ms(n.terminatingTime)} />],
    ["Held back until", n.probationEndTime && <Ago at={ms(n.probationEndTime)} />],
    ["Asks for work", n.polling ? "yes" : "no"],
    ["Lease renewed", <Ago at={ms(n.heartbeatTime)} />],
    ["Registered", <Ago at={ms(n.createTime)} />],
    ["Session", <code>{n.sessionId}</code>],
  ];
  return <Facts of={facts} />;
}
