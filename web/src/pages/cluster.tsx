// Cluster: the members, and what can be done about them.

import { create } from "@bufbuild/protobuf";
import { useState } from "preact/hooks";

import type { Member, VerifyResponse } from "@raft-control-plane/stubs/controlplane/v1/cluster_pb.js";
import { BackupRequestSchema, MemberRole } from "@raft-control-plane/stubs/controlplane/v1/cluster_pb.js";
import { Consistency } from "@raft-control-plane/stubs/controlplane/v1/task_pb.js";

import { clusterCalls } from "../call";
import { bytes, percent } from "../format";
import { cluster, clusterError, pageAt, readCluster, roleName, seen } from "../members";
import { useResource } from "../resource";
import { href } from "../route";
import { num, rows, str } from "../sql";
import { Action, Ago, Badge, Card, Empty, Facts, Loaded, Problem, save, typed } from "../ui";

export function ClusterPage() {
  const c = cluster.value;
  return (
    <>
      {clusterError.value && <Problem text={clusterError.value} retry={() => void readCluster()} />}
      {!c ? <p class="dim" aria-busy="true">Reading…</p> : (
        <div class="grid">
          <Card title="Members" wide>
            <Facts of={[["Cluster", <code>{c.clusterId}</code>], ["Leader", c.leader || "none"], ["Term", String(c.term)], ["This member's version", c.version], ["Its log index", String(c.appliedIndex)]]} />
            <Members members={c.members} leader={c.leader} />
            <Join />
            <Seen />
          </Card>
          <Card title="Backup"><BackupCard /></Card>
          <Card title="Verify"><VerifyCard /></Card>
          <Card title="Latest changes" wide><Changes /></Card>
        </div>
      )}
    </>
  );
}

// Seen is what happened to the members while this page was open.
export function Seen() {
  if (seen.value.length === 0) return null;
  return (
    <ol class="history seen" aria-label="Seen since this page was opened">
      {seen.value.map((s) => <li key={`${s.at_ms} ${s.text}`}><Ago at={s.at_ms} /><span>{s.text}</span></li>)}
    </ol>
  );
}

const after = <T,>(call: Promise<T>): Promise<T> => call.finally(() => void readCluster());

// lag is how many log entries a member is behind the one that is furthest.
export function lag(m: Member, members: Member[]): bigint | undefined {
  if (m.appliedIndex === 0n) return undefined;
  return members.reduce((max, x) => (x.appliedIndex > max ? x.appliedIndex : max), 0n) - m.appliedIndex;
}

function Members({ members, leader }: { members: Member[]; leader: string }) {
  const voters = members.filter((m) => m.role !== MemberRole.NON_VOTER).length;
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Members">
      <table>
        <thead><tr><th>Member</th><th>Part</th><th>Address</th><th class="num">Log index</th><th class="num">Behind</th><th>Version</th><th>Change</th></tr></thead>
        <tbody>
          {members.map((m) => {
            const behind = lag(m, members);
            return (
              <tr key={m.name}>
                <td><b>{m.name}</b></td>
                <td>{behind === undefined ? <Badge word="no answer" /> : <Badge word={roleName[m.role]} />}</td>
                <td><a href={pageAt(m.address)}>{m.address}</a></td>
                <td class="num">{m.appliedIndex ? String(m.appliedIndex) : ""}</td>
                <td class="num">{behind === undefined ? "" : String(behind)}</td>
                <td>{m.version}</td>
                <td><div class="row">
                  {m.role === MemberRole.FOLLOWER && <Action label="Let it lead" of={m.name} ask={`Let ${m.name} lead instead of ${leader || "nobody"}? Writes wait for a moment.`} act={() => after(clusterCalls.transferLeadership({ name: m.name }))} />}
                  {m.role === MemberRole.NON_VOTER && <Action label="Give it a vote" of={m.name} ask={`Give ${m.name} a vote, however far it has caught up? Members that join get theirs by themselves.`} act={() => after(clusterCalls.promoteMember({ name: m.name }))} />}
                  <Action label="Snapshot" of={m.name} act={() => after(clusterCalls.snapshot({ name: m.name }, { timeoutMs: 60_000 }))} />
                  {members.length > 1 && <Action danger label="Remove" of={m.name} ask={`Remove ${m.name} for good? What its data directory holds is refused from then on. ${voters - 1} of ${voters} members with a vote stay${voters === 3 && m.role !== MemberRole.NON_VOTER ? ", which survive the loss of none" : ""}.`} act={() => after(clusterCalls.removeMember({ name: m.name }))} />}
                </div></td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

function Join() {
  const [address, setAddress] = useState("");
  return (
    <div class="row">
      <label>Take in a member at <input type="text" placeholder="10.0.0.4:8080" value={address} onInput={typed(setAddress)} /></label>
      <Action label="Take it in" disabled={!address.includes(":")} act={() => after(clusterCalls.joinMember({ address: address.trim() })).then(() => setAddress(""))}
        ask={`Take in the member at ${address}? It must run and be part of no cluster yet. It gets a vote once it has caught up.`} />
    </div>
  );
}

function BackupCard() {
  const [told, setTold] = useState("");
  const backup = async () => {
    setTold("Being taken…");
    setTold(await download((got, all) => setTold(`${percent(got / Math.max(1, all))} of ${bytes(all)}`)).catch((reason: unknown) => {
      setTold("");
      throw reason;
    }));
  };
  return (
    <>
      <p>The whole state as one SQLite file, while work goes on. The browser holds it in memory until it is saved: for a state of more than 1 GiB use <code>raft-node cluster backup</code>.</p>
      <div class="row"><Action label="Download a backup" act={backup} /><span role="status">{told}</span></div>
    </>
  );
}

// download takes a backup and hands it to the user.
async function download(progress: (got: number, all: number) => void): Promise<string> {
  const parts: Uint8Array<ArrayBuffer>[] = [];
  let got = 0;
  let name = "backup.db";
  let size = 0;
  let sum = "";
  for await (const { info, data } of clusterCalls.backup(create(BackupRequestSchema, { consistency: Consistency.LINEARIZABLE }), { timeoutMs: 0 })) {
    if (info) {
      size = Number(info.sizeBytes);
      sum = info.sha256;
      name = `raft-node-${info.clusterId.slice(0, 8)}-${String(info.index)}.db`;
    }
    if (data.length > 0) parts.push(new Uint8Array(data));
    got += data.length;
    progress(got, size);
  }
  if (got !== size || size === 0) throw new Error(`the backup was cut off after ${bytes(got)} of ${bytes(size)}: try again`);
  save(name, parts, "application/vnd.sqlite3");
  return `${name}, ${bytes(size)}, SHA-256 ${sum.slice(0, 16)}…`;
}

function VerifyCard() {
  const [found, setFound] = useState<VerifyResponse>();
  const verify = async () => setFound(await clusterCalls.verify({}, { timeoutMs: 120_000 }));
  return (
    <>
      <p>Every member hashes all of its tables at one and the same log index, while work goes on.</p>
      <div class="row"><Action label="Verify" act={verify} /></div>
      {found && (
        <div role="status">
          <p>{found.equal ? <Badge word="equal" /> : <Badge word="different" />} at log index {String(found.index)}, {found.members.filter((m) => !m.error).length} of {found.members.length} members answered.</p>
          {found.differences.map((d) => <Problem key={d.table} text={`The table ${d.table} is different on ${d.members.join(", ")}.`} />)}
          {found.members.filter((m) => m.error).map((m) => <Problem key={m.name} text={`${m.name}: ${m.error}`} />)}
        </div>
      )}
    </>
  );
}

// The newest entries of the log are read by its key.
const changesSql = `SELECT log_index, ordinal, time_ms, type, task_id, attempt, node_id, reason FROM events
WHERE log_index > (SELECT max(log_index) FROM event_log) - 1000 ORDER BY log_index DESC, ordinal DESC LIMIT 100`;

function Changes() {
  const changes = useResource("changes", (signal) => rows(changesSql, [], signal), { when: (b) => b.events.length > 0 });
  return (
    <Loaded of={changes}>
      {(list) => list.length === 0 ? <Empty>Nothing has changed yet, or for longer than changes are kept.</Empty> : (
        <ol class="history">
          {list.map((e) => (
            <li key={`${str(e["log_index"])}-${str(e["ordinal"])}`}>
              <Ago at={num(e["time_ms"])} />
              <span>
                {str(e["type"]).toLowerCase().replaceAll("_", " ")}{" "}
                {e["task_id"] && <a href={href(["tasks", str(e["task_id"])])}>{str(e["task_id"])}</a>}
                {e["task_id"] && e["node_id"] && " on "}
                {e["node_id"] && <a href={href(["nodes", str(e["node_id"])])}>{str(e["node_id"])}</a>}
                {e["reason"] && <span class="dim"> ({str(e["reason"])})</span>}
              </span>
            </li>
          ))}
        </ol>
      )}
    </Loaded>
  );
}
