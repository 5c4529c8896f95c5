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

let reading = false;

// readCluster reads it now; it is read from time to time anyway.
export async function readCluster(): Promise<void> {
  if (reading || signedOut.value || (document.hidden && cluster.value)) return;
  reading = true;
  try {
    const found = await clusterCalls.getCluster({}, { timeoutMs: 5000 });
    if (cluster.value && cluster.value.clusterId !== found.clusterId) forgetWritten();
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
