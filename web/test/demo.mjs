// A cluster that has something to show.

import { Cluster, until } from "./cluster.mjs";

const agents = {
  "aws-1": ["--provider", "aws", "--region", "us-east-1", "--zone", "us-east-1a", "--instance-type", "c6i.xlarge", "--price-per-hour", "0.17", "--label", "team=vision"],
  "gcp-1": ["--provider", "gcp", "--region", "us-central1", "--instance-type", "e2-standard-4", "--price-per-hour", "0.05", "--spot", "--label", "team=speech"],
};

// start starts three members and two agents and gives them tasks that come to every end.
export async function startDemo() {
  const cluster = await new Cluster().start(3);
  for (const [name, flags] of Object.entries(agents)) cluster.startAgent(name, ["--slots", "3", "--cpu", "4", "--memory", "8GiB", ...flags]);
  await until("both nodes are healthy", async () => (await cluster.call("NodeService/ListNodes", { statuses: ["NODE_STATUS_HEALTHY"] })).nodes?.length === 2);
  const exec = (command) => ({ exec: { command: ["sh", "-c", command] } });
  const resources = { cpuMillis: "1000", memoryBytes: String(1 << 30) };
  await cluster.call("QueueService/CreateQueue", { queue: { name: "training", weight: 3, limits: { tasks: 4 }, ageingInterval: "60s" } });
  await cluster.call("QueueService/CreateQueue", { queue: { name: "batch", paused: true, placement: "PLACEMENT_BINPACK" } });
  await cluster.submit({ id: "good", name: "evaluate-resnet", queue: "training", labels: { team: "vision" }, resources, ...exec(`echo epoch 1; echo '{"accuracy": 0.97, "loss": {"train": 0.11, "test": 0.14}, "classes": ["cat", "dog"]}'`) });
  await cluster.submit({ id: "bad", name: "prepare-shards", maxAttempts: 2, retryPolicy: { initialBackoff: "0.2s" }, ...exec("echo no such bucket >&2; exit 3") });
  for (let i = 1; i <= 4; i++) await cluster.submit({ id: `train-${i}`, name: `train-lr-0.${i}`, queue: "training", resources, labels: { team: "vision", sweep: "lr" }, ...exec("sleep 600") });
  for (let i = 1; i <= 5; i++) await cluster.submit({ id: `wait-${i}`, name: `embed-part-${i}`, queue: "batch", ...exec("true") });
  await until("the good has completed", async () => (await cluster.call("TaskService/GetTask", { id: "good" })).task.status === "TASK_STATUS_COMPLETED");
  await until("the bad has failed", async () => (await cluster.call("TaskService/GetTask", { id: "bad" })).task.status === "TASK_STATUS_FAILED");
  return cluster;
}
