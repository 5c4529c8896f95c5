// Calls to the member that served this page, over gRPC-Web, and what is known of it.

import type { Interceptor } from "@connectrpc/connect";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { MethodOptions_IdempotencyLevel } from "@bufbuild/protobuf/wkt";
import { batch, signal } from "@preact/signals";

import { ClusterService } from "@raft-control-plane/stubs/controlplane/v1/cluster_pb.js";
import { EventService } from "@raft-control-plane/stubs/controlplane/v1/event_pb.js";
import { LogService } from "@raft-control-plane/stubs/controlplane/v1/log_pb.js";
import { NodeService } from "@raft-control-plane/stubs/controlplane/v1/node_pb.js";
import { QueryService } from "@raft-control-plane/stubs/controlplane/v1/query_pb.js";
import { QueueService } from "@raft-control-plane/stubs/controlplane/v1/queue_pb.js";
import { TaskService } from "@raft-control-plane/stubs/controlplane/v1/task_pb.js";

import { tabToken } from "./store";

const callTimeout_ms = 10_000;

// signedOut is set when the member asks for a token, or for another one.
export const signedOut = signal(false);

// downSince is when the member ceased to answer, in ms since 1970; 0 while it answers.
export const downSince = signal(0);

// generation counts how often everything has to be read anew: after signing in, and
// when the member is back.
export const generation = signal(0);

// Reads are answered from the member's own copy, so that they go on while there is no
// leader; this index makes them see what was written here.
let written = 0n;

// signIn tries a token, and returns what is wrong with it.
export async function signIn(token: string): Promise<string> {
  tabToken.set(token);
  try {
    await clusterCalls.getCluster({});
  } catch (reason) {
    tabToken.set("");
    return problem(reason);
  }
  batch(() => {
    signedOut.value = false;
    generation.value++;
  });
  return "";
}

export function signOut(): void {
  tabToken.set("");
  signedOut.value = true;
}

export const hasToken = () => tabToken.get() !== "";

const about: Interceptor = (next) => async (request) => {
  const token = tabToken.get();
  const reads = request.method.idempotency === MethodOptions_IdempotencyLevel.NO_SIDE_EFFECTS;
  if (token) request.header.set("Authorization", `Bearer ${token}`);
  if (reads && written > 0n) request.header.set("Control-Plane-Min-Index", String(written));
  try {
    const response = await next(request);
    isUp();
    if (!reads) noteWritten(response.header.get("Control-Plane-Applied-Index"));
    return response;
  } catch (reason) {
    const error = ConnectError.from(reason);
    if (isUnreachable(error)) isDown();
    else if (error.code !== Code.Canceled && error.code !== Code.DeadlineExceeded) isUp();
    if (error.code === Code.Unauthenticated && token === tabToken.get()) signedOut.value = true;
    throw error;
  }
};

// forgetWritten is for when the cluster is another one, whose log is not that far.
export function forgetWritten(): void {
  written = 0n;
}

function noteWritten(index: string | null): void {
  if (index && /^\d+$/.test(index) && BigInt(index) > written) written = BigInt(index);
}

// isUnreachable tells a call that got no answer at all from one that was refused:
// fetch fails with a TypeError.
function isUnreachable(error: ConnectError): boolean {
  return error.cause instanceof TypeError;
}

export function isDown(): void {
  if (downSince.value === 0) {
    downSince.value = Date.now();
    void probe();
  }
}

function isUp(): void {
  if (downSince.value === 0) return;
  batch(() => {
    downSince.value = 0;
    generation.value++;
  });
}

// probe asks until the member answers.
async function probe(): Promise<void> {
  while (downSince.value !== 0) {
    await new Promise((resolve) => setTimeout(resolve, 1000));
    await clusterCalls.getCluster({}, { timeoutMs: 3000 }).catch(() => undefined); // the interceptor notes the answer
  }
}

// The member is asked where the page came from, whatever path a proxy gives it.
const transport = createGrpcWebTransport({
  baseUrl: new URL(".", location.href).href.replace(/\/$/, ""),
  interceptors: [about],
  defaultTimeoutMs: callTimeout_ms,
});

export const taskCalls = createClient(TaskService, transport);
export const nodeCalls = createClient(NodeService, transport);
export const queueCalls = createClient(QueueService, transport);
export const eventCalls = createClient(EventService, transport);
export const logCalls = createClient(LogService, transport);
export const clusterCalls = createClient(ClusterService, transport);
export const queryCalls = createClient(QueryService, transport);

// problem is what to tell of a call that failed.
export function problem(reason: unknown): string {
  const error = ConnectError.from(reason);
  switch (true) {
    case isUnreachable(error):
      return "The member does not answer. It is asked again every second.";
    case error.code === Code.DeadlineExceeded:
      return "No answer came in time. Try again, or ask another member.";
    case error.code === Code.Unauthenticated:
      return "The token is missing or wrong: sign in.";
  }
  return error.rawMessage;
}
