// The dashboard in a real browser, against real members and agents.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";

import { callAt, Cluster, until } from "./cluster.mjs";
import { startDemo } from "./demo.mjs";
import { accessible, browser, close, open, picture, shown } from "./page.mjs";

describe("pages", () => {
  let cluster, url;
  before(async () => {
    cluster = await startDemo();
    url = cluster.members[0].url;
  });
  after(() => cluster?.stop());

  const pages = {
    "#/": ["training", "aws", "prepare-shards", "m3"],
    "#/tasks": ["train-lr-0.1", "evaluate-resnet", "embed-part-5"],
    "#/tasks/good": ["accuracy", "epoch 1", "attempt 1", "completed"],
    "#/tasks/bad": ["exit status 3", "attempt 2", "no such bucket"],
    "#/tasks/wait-1": ["paused"],
    "#/tasks/nothing": ["nothing"],
    "#/nodes": ["aws-1", "us-central1", "spot"],
    "#/nodes/aws-1": ["c6i.xlarge", "train-lr", "team=vision"],
    "#/tasks?view=results": ["accuracy", "0.97"],
    "#/queues": ["Its weight is 3", "most loaded node", "4 of 4 tasks"],
    "#/sql": ["v_queue_depth", "4 MiB"],
    "#/cluster": ["m1", "leader", "Download a backup", "task submitted"],
    "#/nonsense": ["no page of this name"],
  };

  for (const colorScheme of ["light", "dark"]) {
    test(`each page shows what there is, without serious findings of axe, ${colorScheme}`, async () => {
      const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, colorScheme });
      const page = await open(url, { context });
      for (const [hash, texts] of Object.entries(pages)) {
        await page.goto(`${url}/${hash}`);
        for (const text of texts) await shown(page, text);
        await until(`${hash} has read all`, async () => (await page.locator("main [aria-busy]").count()) === 0);
        const failed = await page.locator("main .problem", { has: page.getByRole("button", { name: "Try again" }) }).allTextContents();
        assert.deepEqual(failed, hash === "#/tasks/nothing" ? failed : [], hash);
        await picture(page, `${colorScheme}-${hash.replace(/\W+/g, "-")}`);
        await accessible(page, `${colorScheme} ${hash}`);
      }
      await close(page);
    });
  }

  test("no page is wider than a phone", async () => {
    const page = await open(url, { viewport: { width: 360, height: 740 } });
    for (const [hash, texts] of Object.entries(pages)) {
      await page.goto(`${url}/${hash}`);
      await shown(page, texts[0]);
      const width = await page.evaluate(() => document.documentElement.scrollWidth);
      await picture(page, `phone-${hash.replace(/\W+/g, "-")}`);
      assert.ok(width <= 360, `${hash} is ${width} px wide`);
    }
    await close(page);
  });

  test("a change is seen without a reload", async () => {
    const page = await open(url, { hash: "#/tasks?queue=live" });
    await page.getByText("No task matches").waitFor();
    await page.locator(".live.stream").waitFor();
    await cluster.submit({ id: "live-1", name: "seen-live", queue: "live", exec: { command: ["true"] } });
    const row = page.locator("tr", { hasText: "seen-live" });
    await row.locator(".badge.completed").waitFor();
    await close(page);
  });

  test("filters stand in the URL, and a link shows the same", async () => {
    const page = await open(url, { hash: "#/tasks" });
    await page.getByRole("button", { name: "failed" }).click();
    await page.getByText("prepare-shards").waitFor();
    await page.getByText("train-lr-0.1").waitFor({ state: "detached" });
    const other = await open(page.url().split("/#")[0], { hash: "#" + page.url().split("#")[1] });
    await other.getByText("prepare-shards").waitFor();
    assert.equal(await other.getByText("train-lr-0.1").count(), 0);
    await close(other);
    await close(page);
  });

  test("keys go to the search, through the rows and into one", async () => {
    const page = await open(url, { hash: "#/tasks" });
    await page.getByText("embed-part-5").waitFor();
    await page.keyboard.press("/");
    await page.keyboard.type("train-lr");
    await page.getByText("embed-part-5").waitFor({ state: "detached" });
    await page.getByText("train-lr-0.4").waitFor();
    await page.getByRole("searchbox").blur();
    await page.keyboard.press("j");
    await page.keyboard.press("j");
    await page.keyboard.press("k");
    const first = await page.locator("[data-row]").first().textContent();
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: first }).waitFor();
    assert.match(page.url(), /#\/tasks\/train-/);
    await close(page);
  });

  test("several tasks are cancelled at once, once that is confirmed", async () => {
    const ids = ["c1", "c2", "c3"];
    for (const id of ids) await cluster.submit({ id, name: "to-cancel", queue: "batch", exec: { command: ["true"] } });
    const page = await open(url, { hash: "#/tasks?name=to-cancel" });
    await page.getByRole("checkbox").nth(2).waitFor();
    await page.getByRole("button", { name: "Choose all shown" }).click();
    await page.getByRole("button", { name: "Cancel 3" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByText("Cancel 3 tasks?").waitFor();
    await accessible(page, "dialog");
    await dialog.getByRole("button", { name: "Cancel 3" }).click();
    await page.getByText("3 tasks cancelled").waitFor();
    await until("the rows say so", async () => (await page.locator("tbody .badge.cancelled").count()) === 3);
    for (const id of ids) assert.equal((await cluster.call("TaskService/GetTask", { id })).task.status, "TASK_STATUS_CANCELLED");
    await close(page);
  });

  test("a flood of tasks: pages go on, more are shown on demand, and all that match are cancelled", async () => {
    await cluster.call("QueueService/CreateQueue", { queue: { name: "flood", paused: true } });
    const page = await open(url, { hash: "#/tasks?queue=flood&status=PENDING" });
    await page.getByText("No task matches").waitFor();
    await page.locator(".live.stream").waitFor();
    for (let i = 0; i < 3; i++) {
      const requests = Array.from({ length: 1000 }, (_, j) => ({ task: { id: `flood-${i}-${j}`, name: "drop", queue: "flood", exec: { command: ["true"] } } }));
      await cluster.call("TaskService/SubmitTasks", { requests });
    }
    await page.getByRole("link", { name: "drop" }).nth(99).waitFor();
    await page.getByRole("button", { name: "Show 100 more" }).click();
    await page.getByRole("link", { name: "drop" }).nth(199).waitFor();
    await page.locator(".live.stream").waitFor();
    await page.getByRole("button", { name: "Cancel all that match" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Cancel all that match" }).click();
    await page.getByText("3,000 tasks cancelled").or(page.getByText("No task matches")).first().waitFor({ timeout: 30_000 });
    await page.getByText("No task matches").waitFor();
    const { rows } = await cluster.call("QueryService/Query", { sql: "SELECT count(*) FROM tasks WHERE queue = 'flood' AND status = 'CANCELLED'" });
    assert.deepEqual(rows, [[3000]]);
    await close(page);
  });

  test("a task that no node can take says why, and which node comes closest", async () => {
    await cluster.submit({ id: "huge", name: "huge", resources: { cpuMillis: "64000" }, exec: { command: ["true"] } });
    const page = await open(url, { hash: "#/tasks/huge" });
    const why = page.getByRole("region", { name: "Why it waits" });
    await why.getByText("of 2 nodes").first().waitFor(); // by the first reason of each, which need not be the same
    await why.getByText("The closest is").waitFor();
    await accessible(page, "why it waits");
    await cluster.call("TaskService/CancelTask", { id: "huge" });
    await why.waitFor({ state: "detached" });
    await close(page);
  });

  test("a task that failed is retried", async () => {
    const page = await open(url, { hash: "#/tasks/bad" });
    await page.getByRole("button", { name: "Retry" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Retry" }).click();
    await page.getByRole("img", { name: /^attempt 3 on .*: failed/ }).waitFor();
    await page.getByRole("button", { name: "Show the output of attempt 1" }).click();
    await page.getByRole("dialog").getByText("no such bucket").waitFor();
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    await page.locator(".history").getByText("retry_requested").waitFor();
    await close(page);
  });

  test("a task that runs shows how far it is", async () => {
    const script = `echo "21/50 epoch 3" > "$TASK_PROGRESS_FILE"; sleep 600`;
    await cluster.submit({ id: "moving", name: "moves-on", queue: "moving", noProgressTimeout: "3600s", exec: { command: ["sh", "-c", script] } });
    const page = await open(url, { hash: "#/tasks/moving" });
    await page.getByText("42% (21/50) epoch 3").waitFor();
    assert.equal(await page.getByRole("progressbar", { name: "Progress" }).evaluate((bar) => bar.value), 0.42);
    await accessible(page, "a task that runs");
    await page.goto(`${url}/#/tasks?queue=moving`);
    await page.locator("tr", { hasText: "moves-on" }).getByText("42% (21/50) epoch 3").waitFor();
    await callAt(url, "TaskService/CancelTask", { id: "moving" });
    await close(page);
  });

  test("a node is cordoned, drained, and given tasks again", async () => {
    const page = await open(url, { hash: "#/nodes/gcp-1" });
    const state = async () => (await cluster.call("NodeService/GetNode", { id: "gcp-1" })).node;
    await page.getByRole("button", { name: "Cordon" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Cordon" }).click();
    await page.getByText("cordoned").waitFor();
    assert.ok(!(await state()).schedulable);
    await page.getByRole("button", { name: "Drain" }).click();
    await page.getByRole("combobox", { name: "Wait for what runs" }).selectOption("not at all");
    await page.getByRole("dialog").getByRole("button", { name: "Drain" }).click();
    await page.getByText("drained", { exact: true }).waitFor({ timeout: 30_000 });
    assert.equal((await state()).runningTasks ?? 0, 0);
    await page.getByRole("button", { name: "Give it tasks again" }).click();
    await page.getByRole("button", { name: "Cordon" }).waitFor();
    assert.ok((await state()).schedulable);
    await close(page);
  });

  test("a queue is paused and resumed", async () => {
    const page = await open(url, { hash: "#/queues" });
    await page.getByRole("button", { name: "Pause: default" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Pause" }).click();
    await page.getByRole("button", { name: "Resume: default" }).waitFor();
    assert.equal((await cluster.call("QueueService/GetQueue", { name: "default" })).queue.paused, true);
    await page.getByRole("button", { name: "Resume: default" }).click();
    await page.getByRole("button", { name: "Pause: default" }).waitFor();
    assert.ok(!(await cluster.call("QueueService/GetQueue", { name: "default" })).queue.paused);
    await close(page);
  });

  test("a statement is asked, drawn and exported, and a wrong one is explained", async () => {
    const page = await open(url, { hash: "#/sql" });
    const editor = page.getByRole("textbox", { name: "Statement" });
    await editor.fill("SELECT 'a,b' AS name, 3 AS n UNION ALL SELECT 'c', NULL");
    await editor.press("Control+Enter");
    await page.getByText("2 rows").waitFor();
    await page.getByRole("button", { name: "Chart" }).click();
    await page.getByRole("img", { name: /Answer: n by 2 rows/ }).waitFor();
    const saved = async (name) => {
      const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name }).click()]);
      return readFileSync(await download.path(), "utf8");
    };
    assert.equal(await saved("CSV"), 'name,n\r\n"a,b",3\r\nc,\r\n');
    assert.deepEqual(JSON.parse(await saved("JSON")), [{ name: "a,b", n: 3 }, { name: "c", n: null }]);
    await editor.fill("DELETE FROM tasks");
    await page.getByRole("button", { name: "Run" }).click();
    await page.getByRole("alert").waitFor();
    await close(page);
  });

  test("members are verified, backed up, and one is let lead", async () => {
    const page = await open(url, { hash: "#/cluster" });
    await page.getByRole("button", { name: "Verify" }).click();
    await page.getByText("3 of 3 members answered").waitFor();
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Download a backup" }).click()]);
    assert.equal(readFileSync(await download.path()).subarray(0, 15).toString(), "SQLite format 3");
    const next = (await cluster.leader()).name === "m3" ? "m2" : "m3";
    await page.getByRole("button", { name: `Let it lead: ${next}` }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Let it lead" }).click();
    await page.locator("tr", { hasText: next }).locator(".badge.leader").waitFor();
    await close(page);
  });

  test("where streams are held back, changes come by polls", async () => {
    const context = await browser.newContext();
    await context.route("**/*.EventService/WatchEvents", () => {}); // never answered
    const page = await open(url, { context, hash: "#/tasks?queue=polls" });
    await page.locator(".live.polls").waitFor();
    await cluster.submit({ id: "polled", name: "seen-by-polls", queue: "polls", exec: { command: ["true"] } });
    await page.locator("tr", { hasText: "seen-by-polls" }).locator(".badge.completed").waitFor({ timeout: 8000 });
    await close(page);
  });

  test("tabs share one watch, and another goes on when its tab is closed", async () => {
    const context = await browser.newContext();
    const watching = new Set();
    context.on("request", (r) => r.url().endsWith("/WatchEvents") && watching.add(r.frame().page()));
    const tab = async () => {
      const page = await open(url, { context, hash: "#/tasks?queue=tabs" });
      await page.getByText("No task matches").or(page.locator("tbody tr")).first().waitFor();
      return page;
    };
    const [first, second, third] = [await tab(), await tab(), await tab()];
    await second.locator(".live.stream").waitFor();
    await cluster.submit({ id: "tabs-1", name: "seen-by-all", queue: "tabs", exec: { command: ["true"] } });
    for (const page of [first, second, third]) {
      await page.bringToFront();
      await page.locator("tr", { hasText: "seen-by-all" }).locator(".badge.completed").waitFor();
    }
    assert.deepEqual([...watching].map((p) => p === first), [true], "not just the first tab watches");
    await first.close();
    await until("another watches", () => watching.size === 2);
    await cluster.submit({ id: "tabs-2", name: "seen-later", queue: "tabs", exec: { command: ["true"] } });
    for (const page of [second, third]) {
      await page.bringToFront();
      await page.locator("tr", { hasText: "seen-later" }).locator(".badge.completed").waitFor();
    }
    assert.deepEqual([...first.problems, ...second.problems, ...third.problems], []);
    await context.close();
  });
});

describe("members that go away", () => {
  let cluster;
  before(async () => {
    cluster = await new Cluster().start(3);
    cluster.startAgent("n1", ["--slots", "2"]);
  });
  after(() => cluster?.stop());

  test("the leader is killed, and the page at another member goes on", async () => {
    const leader = await cluster.leader();
    const member = cluster.members.find((m) => m !== leader);
    const page = await open(member.url, { hash: "#/tasks" });
    await page.getByText("Nothing has run here yet").waitFor();
    await leader.stop("SIGKILL");
    await cluster.leader();
    await cluster.submit({ id: "after", name: "after-the-leader", exec: { command: ["true"] } });
    await page.locator("tr", { hasText: "after-the-leader" }).locator(".badge.completed").waitFor({ timeout: 30_000 });
    assert.equal(await page.locator("[data-banner=down]").count(), 0);
    await close(page);
    leader.start();
    await until("it is back", async () => (await fetch(leader.url + "/readyz")).ok, 30_000);
  });

  test("its own member is stopped: the page says so, and goes on with it", async () => {
    const member = cluster.members[0];
    const page = await open(member.url);
    await page.locator(".live.stream").waitFor();
    await page.locator("[data-member=m1]").waitFor();
    member.child.kill("SIGSTOP");
    const banner = page.locator("[data-banner=down]");
    await banner.waitFor();
    member.child.kill("SIGCONT");
    await banner.waitFor({ state: "detached" });
    await page.locator(".live.stream").waitFor();
    await close(page);
  });

  test("its own member is killed: the page says so, keeps what it shows, and goes on when it is back", async () => {
    await cluster.leader();
    const member = cluster.members[0];
    await cluster.submit({ id: "kept", name: "still-shown", exec: { command: ["true"] } });
    const page = await open(member.url, { hash: "#/tasks?name=still-shown" });
    await page.getByText("still-shown").waitFor();
    await page.locator(".live.stream").waitFor();
    await until("it knows the members", () => page.evaluate(() => performance.getEntriesByType("resource").some((e) => e.name.endsWith("GetCluster"))));
    await member.stop("SIGKILL");
    const banner = page.locator("[data-banner=down]");
    await banner.waitFor();
    assert.ok(await page.getByText("still-shown").isVisible(), "what was shown is gone");
    for (const other of cluster.members.slice(1)) {
      const href = await banner.getByRole("link", { name: other.address }).getAttribute("href");
      assert.equal(href, `${other.url}/#/tasks?name=still-shown`);
    }
    await accessible(page, "member is down");
    await until("another leads", async () => (await cluster.leader()) !== member);
    await cluster.submit({ id: "kept-2", name: "still-shown", queue: "meanwhile", exec: { command: ["true"] } });
    member.start();
    await banner.waitFor({ state: "detached", timeout: 30_000 });
    await page.locator("tr", { hasText: "meanwhile" }).waitFor();
    await page.locator(".live.stream").waitFor();
    await close(page);
  });
});

describe("a token", () => {
  const token = "the-secret-of-this-test-cluster";
  let cluster, url;
  before(async () => {
    const { writeFileSync } = await import("node:fs");
    cluster = new Cluster();
    writeFileSync(cluster.dir + "/token", token);
    await cluster.start(1, { flags: ["--token-file", cluster.dir + "/token"] });
    url = cluster.members[0].url;
  });
  after(() => cluster?.stop());

  test("is asked for, kept for the tab only, and in no URL", async () => {
    const page = await open(url, { hash: "#/cluster" });
    const urls = [];
    page.on("request", (r) => urls.push(r.url()));
    const box = page.getByLabel("Token");
    await box.fill("not-the-token-at-all");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByText("The token is missing or wrong").waitFor();
    await accessible(page, "sign-in");
    await box.fill(token);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByText("Download a backup").waitFor();
    await page.locator(".live.stream").waitFor();
    const stored = await page.evaluate(() => ({ tab: JSON.stringify(sessionStorage), all: JSON.stringify(localStorage), cookie: document.cookie }));
    assert.ok(stored.tab.includes(token));
    assert.ok(!stored.all.includes(token) && stored.cookie === "");
    assert.deepEqual([...urls, page.url()].filter((u) => u.includes(token)), []);
    await page.reload();
    await page.getByText("Download a backup").waitFor();
    const other = await open(url, { context: page.context() });
    await other.getByLabel("Token").waitFor();
    assert.deepEqual(other.problems, []);
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByLabel("Token").waitFor();
    assert.ok(!(await page.evaluate(() => JSON.stringify(sessionStorage))).includes(token));
    await close(page);
  });
});
