// Proves that the committed TypeScript stubs import and speak the contract's JSON.

import assert from "node:assert/strict";
import { cpSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";

import { create, fromBinary, fromJson, toBinary, toJson } from "@bufbuild/protobuf";

const here = fileURLToPath(new URL(".", import.meta.url));

// The stubs import @bufbuild/protobuf, which a project that uses them installs.
// Here a copy of the stubs stands beside a link to the pinned one.
const project = mkdtempSync(join(tmpdir(), "stubs-"));
test.after(() => rmSync(project, { recursive: true }));
cpSync(join(here, "../../gen/ts"), join(project, "stubs"), { recursive: true });
symlinkSync(join(here, "node_modules"), join(project, "node_modules"));

const load = (noun) => import(pathToFileURL(join(project, `stubs/controlplane/v1/${noun}_pb.js`)).href);

test("a SubmitTaskRequest survives JSON and binary", async () => {
  const { SubmitTaskRequestSchema } = await load("task");
  const request = create(SubmitTaskRequestSchema, {
    requestId: "r1",
    task: {
      name: "hi",
      labels: { team: "a" },
      work: { case: "exec", value: { command: ["echo", "hi"] } },
      resources: { memoryBytes: 1n << 53n, gpus: 1 },
      timeout: { seconds: 90n },
    },
  });

  const json = toJson(SubmitTaskRequestSchema, request);
  assert.deepEqual(json, {
    requestId: "r1",
    task: {
      name: "hi",
      labels: { team: "a" },
      exec: { command: ["echo", "hi"] },
      resources: { memoryBytes: "9007199254740992", gpus: 1 },
      timeout: "90s",
    },
  });
  assert.deepEqual(fromJson(SubmitTaskRequestSchema, json), request);
  assert.deepEqual(fromBinary(SubmitTaskRequestSchema, toBinary(SubmitTaskRequestSchema, request)), request);
});

test("every service is there with its methods", async () => {
  const methods = {};
  for (const noun of ["task", "node", "cluster", "query"]) {
    for (const value of Object.values(await load(noun))) {
      if (value.kind === "service") methods[value.typeName] = value.methods.map((m) => m.name);
    }
  }
  assert.deepEqual(Object.keys(methods).sort(), [
    "controlplane.v1.ClusterService",
    "controlplane.v1.NodeService",
    "controlplane.v1.QueryService",
    "controlplane.v1.TaskService",
  ]);
  assert.ok(methods["controlplane.v1.TaskService"].includes("WatchTasks"));
});
