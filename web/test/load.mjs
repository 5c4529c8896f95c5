// How long the pages take to show data, with a cold cache: node load.mjs [TASKS]

import { launch } from "./browser.mjs";
import { Cluster } from "./cluster.mjs";

const tasks = Number(process.argv[2] ?? 100_000);
const tries = 5;
const pages = {
  Overview: ["#/", "[data-tile=waiting]", (text) => Number(text.replaceAll(",", "")) > 0],
  Tasks: ["#/tasks", "[data-row]", (text) => text.startsWith("task-")],
  Queues: ["#/queues", ".tile b", (text) => text !== ""],
  Nodes: ["#/nodes", "[data-row]", (text) => text === "n1"],
};

const cluster = await new Cluster().start(3);
const browser = await launch();
try {
  cluster.startAgent("n1", ["--slots", "1"]);
  await cluster.call("QueueService/CreateQueue", { queue: { name: "backlog", paused: true } });
  for (let i = 0; i < tasks; i += 1000) {
    const requests = Array.from({ length: Math.min(1000, tasks - i) }, (_, j) => ({ task: { name: `task-${i + j}`, queue: j % 2 ? "backlog" : "other", exec: { command: ["true"] }, labels: { stage: String(j % 7) } } }));
    await cluster.call("TaskService/SubmitTasks", { requests });
  }
  console.log(`${tasks.toLocaleString("en")} tasks, one of three members, cold cache, from the start of the navigation to the first data, ${tries} tries:`);
  for (const [name, what] of Object.entries(pages)) {
    const took = [];
    for (let i = 0; i < tries; i++) took.push(await firstData(...what));
    took.sort((a, b) => a - b);
    console.log(`${name.padEnd(10)} median ${took[tries >> 1]} ms, longest ${took.at(-1)} ms`);
  }
} finally {
  await browser.close();
  await cluster.stop();
}

// firstData opens a page in a browser context of its own, which has cached nothing, and
// asks the page's own clock when what is looked for was there.
async function firstData(hash, selector, good) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  const page = await context.newPage();
  await page.addInitScript(({ selector, source }) => {
    const good = (0, eval)(source);
    new MutationObserver((_, observer) => {
      const found = document.querySelector(selector);
      if (!found || !good(found.textContent)) return;
      observer.disconnect();
      requestAnimationFrame(() => (globalThis.firstData_ms = performance.now()));
    }).observe(document, { subtree: true, childList: true, characterData: true });
  }, { selector, source: good.toString() });
  await page.goto(cluster.members[1].url + "/" + hash);
  const handle = await page.waitForFunction(() => globalThis.firstData_ms, undefined, { timeout: 30_000 });
  const took_ms = Math.round(await handle.jsonValue());
  await context.close();
  return took_ms;
}
