// A client of the control plane in TypeScript, over gRPC-Web, as a web page would
// call: it submits a task, watches it to its end, lists, cancels, and reads the
// details of a refusal. It needs a cluster with an agent.
//
//   npm ci && npm run build
//   node dist/client.js http://127.0.0.1:8080
//
// TOKEN_FILE=token adds the token, NODE_EXTRA_CA_CERTS=cert.pem trusts a certificate.

import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";

import type { Interceptor } from "@connectrpc/connect";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

import { TaskService, TaskStatus } from "@raft-control-plane/stubs/controlplane/v1/task_pb.js";
import type { Task } from "@raft-control-plane/stubs/controlplane/v1/task_pb.js";
import { BadRequestSchema } from "@raft-control-plane/stubs/google/rpc/error_details_pb.js";

const final = [TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED];

// connect returns a client of the member at a URL.
function connect(baseUrl: string, token: string | undefined) {
  const authorize: Interceptor = (next) => (request) => {
    if (token) request.header.set("Authorization", `Bearer ${token}`);
    return next(request);
  };
  return createClient(TaskService, createGrpcWebTransport({ baseUrl, interceptors: [authorize] }));
}

type Client = ReturnType<typeof connect>;

// submit stores a task that runs a command. The request id makes it safe to repeat.
async function submit(client: Client, name: string, command: string[]): Promise<Task> {
  const { task } = await client.submitTask({
    requestId: randomUUID(),
    task: { name, labels: { example: "node" }, work: { case: "exec", value: { command } } },
  });
  if (!task) throw new Error("the answer holds no task");
  return task;
}

// watch follows a task until it has ended, and prints each change.
async function watch(client: Client, id: string): Promise<TaskStatus> {
  const abort = new AbortController();
  try {
    for await (const { event } of client.watchTasks({ cursor: "0", taskIds: [id] }, { signal: abort.signal })) {
      if (!event) continue; // a sign of life
      console.log(`${id} is ${TaskStatus[event.status]}`);
      if (final.includes(event.status)) return event.status;
    }
    throw new Error("the watch ended before the task did");
  } finally {
    abort.abort(); // leaving the loop does not end the call
  }
}

// explain prints what is wrong with each field of a request that was refused.
function explain(error: unknown): void {
  if (!(error instanceof ConnectError)) throw error;
  console.log(`refused: ${Code[error.code]}`);
  for (const detail of error.findDetails(BadRequestSchema)) {
    for (const violation of detail.fieldViolations) {
      console.log(`field ${violation.field}: ${violation.description}`);
    }
  }
}

async function main(baseUrl: string, tokenFile: string | undefined): Promise<void> {
  const client = connect(baseUrl, tokenFile && readFileSync(tokenFile, "utf8").trim());

  const greeting = await submit(client, "greeting", ["echo", "hello from TypeScript"]);
  await watch(client, greeting.id);
  const { task } = await client.getTask({ id: greeting.id });
  console.log(`output: ${task?.logTail.trim()}`);

  const endless = await submit(client, "endless", ["sleep", "3600"]);
  await client.cancelTask({ id: endless.id });
  await watch(client, endless.id);

  const { tasks } = await client.listTasks({ labels: { example: "node" }, pageSize: 2 });
  console.log(`newest: ${tasks.map((t) => t.name).join(", ")}`);

  await submit(client, "nothing", []).catch(explain);
}

const baseUrl = process.argv[2];
if (!baseUrl) {
  console.error("usage: node dist/client.js URL");
  process.exit(2);
}
await main(baseUrl, process.env["TOKEN_FILE"]);
