// What operators do on the pages: queues, nodes, members.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { Cluster, until } from "./cluster.mjs";
import { accessible, close, confirm, open } from "./page.mjs";

describe("queues", () => {
  let cluster, url;
  before(async () => {
    cluster = await new Cluster().start(1);
    url = cluster.members[0].url;
  });
  after(() => cluster?.stop());

  const queue = async (name) => (await cluster.call("QueueService/GetQueue", { name })).queue;

  test("one is made, with what the control plane says of each field, changed and forgotten", async () => {
    const page = await open(url, { hash: "#/queues" });
    await page.getByRole("region", { name: "Queue default" }).waitFor();
    await page.getByRole("button", { name: "New queue" }).click();
    const form = page.getByRole("dialog");
    await form.getByLabel("Name").fill("two words");
    await form.getByLabel("Weight").fill("5000");
    await form.getByLabel("Ageing").fill("0.5");
    await accessible(page, "new queue");
    await form.getByRole("button", { name: "Make it" }).click();
    const told = async (name) => form.locator(`#${await form.getByLabel(name).getAttribute("aria-describedby")}`);
    await until("the name is found wrong", async () => (await (await told("Name")).getAttribute("class")) === "wrong");
    assert.match(await (await told("Name")).textContent(), /letters, digits/);
    assert.match(await (await told("Weight")).textContent(), /1000|1,000/);
    assert.match(await (await told("Ageing")).textContent(), /1s|1 s/);
    assert.equal(await (await told("GPUs at most")).getAttribute("class"), "dim");
    await accessible(page, "queue with mistakes");
    await form.getByLabel("Name").fill("speech");
    await form.getByLabel("Weight").fill("5");
    await form.getByLabel("Placement").selectOption("the cheapest");
    await form.getByLabel("CPU at most").fill("2.5");
    await form.getByLabel("Memory at most").fill("4");
    await form.getByLabel("Disk at most").fill("10");
    await form.getByLabel("Others at most").fill("licenses=4, seats=0");
    await form.getByLabel("Ageing").fill("90");
    await form.getByRole("button", { name: "Make it" }).click();
    await form.waitFor({ state: "detached" });
    await page.getByText("Its weight is 5").waitFor();
    const made = await queue("speech");
    assert.deepEqual([made.weight, made.placement, made.limits, made.ageingInterval], [5, "PLACEMENT_CHEAPEST", { cpuMillis: "2500", memoryBytes: String(4 * 2 ** 30), diskBytes: String(10 * 2 ** 30), custom: { licenses: "4", seats: "0" } }, "90s"]);

    await cluster.call("QueueService/PauseQueue", { name: "speech" });
    await page.getByRole("button", { name: "Settings: speech" }).click();
    assert.equal(await form.getByLabel("CPU at most").inputValue(), "2.5");
    await form.getByLabel("CPU at most").fill("");
    await form.getByLabel("Disk at most").fill("");
    await form.getByLabel("Others at most").fill("");
    await form.getByLabel("Tasks at most").fill("0");
    await form.getByRole("button", { name: "Change" }).click();
    await form.waitFor({ state: "detached" });
    await page.getByText("0 of 0 tasks").waitFor();
    const changed = await queue("speech");
    assert.deepEqual([changed.weight, changed.limits, changed.paused], [5, { tasks: 0, memoryBytes: String(4 * 2 ** 30) }, true]);

    await page.getByRole("button", { name: "Forget: speech" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Forget" }).click();
    await page.getByRole("region", { name: "Queue speech" }).waitFor({ state: "detached" });
    await close(page);
  });

  test("what waited in the last hour is drawn, and what ended", async () => {
    await cluster.call("QueueService/CreateQueue", { queue: { name: "held", paused: true } });
    for (const id of ["h1", "h2", "h3"]) await cluster.submit({ id, queue: "held", exec: { command: ["true"] } });
    await cluster.submit({ id: "gone", queue: "open", exec: { command: ["true"] } });
    await cluster.call("TaskService/CancelTask", { id: "gone" });
    const page = await open(url, { hash: "#/queues" });
    const held = page.getByRole("region", { name: "Queue held" });
    await held.getByRole("img", { name: "Last hour, waiting, now: waiting 3" }).waitFor();
    await held.getByRole("img", { name: /^Last hour, oldest, now: oldest \d/ }).waitFor();
    await page.goto(url + "/#/");
    await page.getByRole("img", { name: "Tasks a minute, now: ended 1 /min, of these failed 0 /min" }).waitFor();
    await close(page);
  });
});

describe("nodes", () => {
  let cluster, url;
  before(async () => {
    cluster = await new Cluster().start(1);
    url = cluster.members[0].url;
    cluster.startAgent("gpu-1", ["--slots", "2", "--gpus", "0,1"]);
    cluster.startAgent("cpu-1", ["--slots", "2", "--gpus", "none"]);
    await until("both nodes are there", async () => (await cluster.call("NodeService/ListNodes", { statuses: ["NODE_STATUS_HEALTHY"] })).nodes?.length === 2);
  });
  after(() => cluster?.stop());

  const node = async (id) => (await cluster.call("NodeService/GetNode", { id })).node;

  test("each GPU has a bar, with the task that holds it", async () => {
    await cluster.submit({ id: "train", name: "train-on-a-gpu", resources: { gpus: 1 }, exec: { command: ["sleep", "600"] } });
    const page = await open(url, { hash: "#/nodes/gpu-1" });
    const gpus = page.getByRole("region", { name: "GPUs" });
    const holder = gpus.locator("li", { hasText: "train-on-a-gpu" });
    await holder.getByRole("meter", { name: "GPU 0" }).waitFor();
    assert.equal(await holder.getByRole("meter").getAttribute("aria-valuenow"), "100");
    const free = gpus.locator("li", { hasText: "free" });
    assert.equal(await free.getByRole("meter", { name: "GPU 1" }).getAttribute("aria-valuenow"), "0");
    await accessible(page, "a node with GPUs");
    await holder.getByRole("link", { name: "train-on-a-gpu" }).click();
    await page.getByRole("heading", { name: "train-on-a-gpu" }).waitFor();
    await close(page);
  });

  test("results are compared, by the value that is pressed", async () => {
    for (const [id, accuracy] of [["r1", 0.7], ["r2", 0.95], ["r3", 0.8]]) await cluster.submit({ id, name: id, labels: { sweep: "x" }, exec: { command: ["echo", JSON.stringify({ accuracy, note: "kept" })] } });
    await cluster.submit({ id: "r4", name: "r4", labels: { sweep: "y" }, exec: { command: ["echo", JSON.stringify({ accuracy: 1 })] } });
    const page = await open(url, { hash: "#/tasks?labels=sweep%3Dx&view=results" });
    await page.locator("[data-row]").nth(2).waitFor();
    const order = () => page.locator("[data-row]").allTextContents();
    await page.getByRole("button", { name: "accuracy" }).click();
    await until("the best comes first", async () => (await order()).join() === "r2,r3,r1");
    await page.getByRole("button", { name: "accuracy" }).click();
    await until("the best comes last", async () => (await order()).join() === "r1,r3,r2");
    await close(page);
  });

  test("those that are chosen are cordoned together, and given tasks again", async () => {
    const page = await open(url, { hash: "#/nodes" });
    await page.getByRole("checkbox", { name: "Choose gpu-1" }).check();
    await page.getByRole("checkbox", { name: "Choose cpu-1" }).check();
    await accessible(page, "chosen nodes");
    await confirm(page, "Cordon 2");
    await page.getByText("2 nodes cordoned").waitFor();
    for (const id of ["gpu-1", "cpu-1"]) assert.ok(!(await node(id)).schedulable, id);
    await page.getByRole("button", { name: "Choose all 2" }).click();
    await page.getByRole("button", { name: "Give tasks again to 2" }).click();
    await page.getByText("2 nodes given tasks again").waitFor();
    for (const id of ["gpu-1", "cpu-1"]) assert.ok((await node(id)).schedulable, id);
    await close(page);
  });

  test("a drain shows how far it is", async () => {
    for (const id of ["d1", "d2"]) await cluster.submit({ id, constraints: { nodeId: "cpu-1" }, exec: { command: ["sleep", "600"] } });
    await until("both run", async () => (await node("cpu-1")).runningTasks === 2);
    const page = await open(url, { hash: "#/nodes/cpu-1" });
    await confirm(page, "Drain");
    await page.getByText("0 of 2 tasks off it").waitFor();
    await cluster.call("TaskService/CancelTask", { id: "d1" });
    await page.getByText("1 of 2 tasks off it").waitFor();
    assert.equal(await page.getByRole("meter", { name: "Drained" }).getAttribute("aria-valuenow"), "50");
    await cluster.call("TaskService/CancelTask", { id: "d2" });
    await page.getByText("drained", { exact: true }).waitFor();
    await close(page);
  });

  test("one that is gone is removed, and one that is heard cannot be", async () => {
    await cluster.call("NodeService/Heartbeat", { nodeId: "gone", sessionId: "s", spec: { slots: 1 } });
    const page = await open(url, { hash: "#/nodes/gone" });
    await page.getByRole("button", { name: "Cordon" }).waitFor();
    assert.equal(await page.getByRole("button", { name: "Remove" }).count(), 0);
    await until("its lease has lapsed", async () => (await node("gone")).status === "NODE_STATUS_UNHEALTHY", 60_000);
    await confirm(page, "Remove");
    await page.getByText("there is no node gone").waitFor();
    await page.goto(`${url}/#/nodes`);
    await page.getByRole("checkbox", { name: "Choose gpu-1" }).waitFor();
    assert.equal(await page.getByRole("checkbox", { name: "Choose gone" }).count(), 0);
    await close(page);
  });
});

describe("members", () => {
  let cluster;
  before(async () => {
    cluster = await new Cluster().start(3);
  });
  after(() => cluster?.stop());

  test("one is taken in, gets a vote, leads and is removed, all from the page", async () => {
    const leader = await cluster.leader();
    const page = await open(leader.url, { hash: "#/cluster" });
    const row = page.locator("tr", { hasText: "m4" });
    const fresh = await cluster.addMember("m4");
    await page.getByLabel("Take in a member at").fill("127.0.0.1:1");
    await page.getByRole("button", { name: "Take it in" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByRole("button", { name: "Take it in" }).click();
    await dialog.getByRole("alert").waitFor();
    await dialog.getByRole("button", { name: "Leave it" }).click();
    await page.getByLabel("Take in a member at").fill(fresh.address);
    await confirm(page, "Take it in");
    await row.locator(".badge.follower").waitFor({ timeout: 30_000 }); // it gets its vote once it has caught up
    await page.locator(".seen").getByText("m4 was taken in").waitFor();
    await page.getByRole("button", { name: "Let it lead: m4" }).click();
    await dialog.getByRole("button", { name: "Let it lead" }).click();
    await row.locator(".badge.leader").waitFor();
    await page.locator(".seen").getByText(/m4 leads, in term \d+; before it was m\d/).waitFor();
    await page.getByRole("button", { name: `Let it lead: ${leader.name}` }).click();
    await dialog.getByRole("button", { name: "Let it lead" }).click();
    await page.locator("tr", { hasText: leader.address }).locator(".badge.leader").waitFor();
    await page.getByRole("button", { name: "Remove: m4" }).click();
    await dialog.getByText("Remove m4 for good?").waitFor();
    await accessible(page, "removal");
    await dialog.getByRole("button", { name: "Leave it" }).click();
    assert.equal((await cluster.call("ClusterService/GetCluster")).members.length, 4);
    await page.getByRole("button", { name: "Remove: m4" }).click();
    await dialog.getByRole("button", { name: "Remove" }).click();
    await row.waitFor({ state: "detached" });
    await page.locator(".seen").getByText("m4 was removed").waitFor();
    assert.deepEqual((await cluster.call("ClusterService/GetCluster")).members.map((m) => m.name), ["m1", "m2", "m3"]);
    await close(page);
  });
});
