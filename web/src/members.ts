// The members, as all pages know them: who leads, and where to go on when the one
// that served the page is gone.

import { Code, ConnectError } from "@connectrpc/connect";
import { effect, signal } from "@preact/signals";

import type { GetClusterResponse } from "@raft-control-plane/stubs/controlplane/v1/cluster_pb.js";
import { MemberRole } from "@raft-control-plane/stubs/controlplane/v1/cluster_pb.js";

import { clusterCalls, forgetWritten, generation, isDown, problem, signedOut } from "./call";

const every_ms = 3_000;

export const cluster = signal<GetClusterResponse | undefined>(undefined);
export const clusterError = signal("");

// seen is what happened to the members while this page was open, the newest first.
export const seen = signal<{ at_ms: number; text: string }[]>([]);

const maxSeen = 50;

let reading = false;
let lastLeader = "";

// readCluster reads it now; it is read from time to time anyway.
export async function readCluster(): Promise<void> {
  if (reading || signedOut.value || (document.hidden && cluster.value)) return;
  reading = true;
  try {
    const found = await clusterCalls.getCluster({}, { timeoutMs: 5000 });
    if (cluster.value && cluster.value.clusterId !== found.clusterId) forgetWritten();
    notice(cluster.value, found);
    cluster.value = found;
    clusterError.value = "";
  } catch (reason) {
    clusterError.value = problem(reason);
    // It is always answered within a second or two: a member that takes the call and
    // says nothing is stopped, or cut off behind something that is not.
    if (ConnectError.from(reason).code === Code.DeadlineExceeded) isDown();
  }
  reading = false;
}

// notice compares two answers and notes what happened between them.
function notice(before: GetClusterResponse | undefined, now: GetClusterResponse): void {
  const told: string[] = [];
  if (before && before.clusterId === now.clusterId) {
    const old = new Map(before.members.map((m) => [m.name, m]));
    const there = new Set(now.members.map((m) => m.name));
    for (const m of now.members) {
      const was = old.get(m.name);
      if (!was) told.push(`${m.name} was taken in`);
      else if (was.appliedIndex > 0n && m.appliedIndex === 0n) told.push(`${m.name} gives no answer any more`);
      else if (was.appliedIndex === 0n && m.appliedIndex > 0n) told.push(`${m.name} answers again`);
      if (was?.role === MemberRole.NON_VOTER && m.role !== MemberRole.NON_VOTER) told.push(`${m.name} has a vote`);
    }
    for (const name of old.keys()) if (!there.has(name)) told.push(`${name} was removed`);
    if (!now.leader && before.leader) told.push(`${before.leader} leads no more: an election`);
    if (now.leader && now.leader !== lastLeader) told.push(`${now.leader} leads, in term ${String(now.term)}${lastLeader ? `; before it was ${lastLeader}` : ""}`);
  }
  if (now.leader) lastLeader = now.leader;
  if (told.length > 0) seen.value = [...told.map((text) => ({ at_ms: Date.now(), text })).reverse(), ...seen.value].slice(0, maxSeen);
}

export function startMembers(): void {
  effect(() => {
    void generation.value;
    void readCluster();
  });
  setInterval(() => void readCluster(), every_ms);
  document.addEventListener("visibilitychange", () => void readCluster());
}

export const roleName: Record<MemberRole, string> = {
  [MemberRole.UNSPECIFIED]: "unknown",
  [MemberRole.LEADER]: "leader",
  [MemberRole.FOLLOWER]: "follower",
  [MemberRole.NON_VOTER]: "non-voter",
};

// pageAt is this page at another member.
export const pageAt = (address: string): string => `${location.protocol}//${address}/${location.hash}`;

export const here = location.host;
