// What a task prints, on its page while it runs.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { Cluster, until } from "./cluster.mjs";
import { accessible, close, open, picture } from "./page.mjs";

describe("the live log", () => {
  let cluster;
  before(async () => {
    cluster = await new Cluster().start(3);
    cluster.startAgent("n1");
  });
  after(() => cluster?.stop());

  // stepper is a task that prints a text for each step that it is let take.
  async function stepper(id, ...texts) {
    const file = (i) => join(cluster.dir, `${id}-${i}`);
    const script = texts.map((text, i) => `until [ -e ${file(i)} ]; do sleep 0.1; done; printf '${text}\\n'`).join("; ");
    await cluster.submit({ id, exec: { command: ["sh", "-c", script] } });
    await until(`${id} runs`, async () => (await cluster.call("TaskService/GetTask", { id })).task.status === "TASK_STATUS_RUNNING");
    return (i) => writeFileSync(file(i), "");
  }

  async function watch(id, hold) {
    const step = await stepper(id, "\\033[31mred\\033[0m 10%%\\rred 20%%", "second line", "third");
    const page = await open(cluster.members[1].url);
    if (hold) await page.route("**/TailLog", () => undefined); // never answered
    await page.goto(`${cluster.members[1].url}/#/tasks/${id}`);
    await page.getByText("It has printed nothing yet.").waitFor();
    const log = page.getByRole("log", { name: "Output" });
    step(0);
    await until("the first line is shown", async () => (await log.count()) > 0 && (await log.textContent()) === "red 20%\n");
    return { step, page, log };
  }

  test("shows what comes without a reload, pauses, goes on, and ends", async () => {
    const { step, page, log } = await watch("live");
    await accessible(page, "live log");
    await picture(page, "live-log");
    await page.getByRole("button", { name: "Wrap" }).click();
    assert.match(await log.getAttribute("class"), /unwrapped/);
    const follow = page.getByRole("button", { name: "Follow" });
    await follow.click();
    assert.equal(await follow.getAttribute("aria-pressed"), "false");
    step(1);
    await follow.click();
    await until("the second line is shown, once", async () => (await log.textContent()) === "red 20%\nsecond line\n");
    step(2);
    await page.getByRole("region", { name: "End of its output" }).getByText("third").waitFor();
    await close(page);
  });

  test("comes by long polls where streams are held back", async () => {
    const { step, page, log } = await watch("held", true);
    step(1);
    await until("the second line is shown", async () => (await log.textContent()) === "red 20%\nsecond line\n");
    step(2);
    await page.getByRole("region", { name: "End of its output" }).getByText("third").waitFor();
    await page.context().close();
  });
});
