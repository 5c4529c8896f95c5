// Pictures of the dashboard for the README, of a live cluster: node screenshots.mjs DIR

import { mkdirSync } from "node:fs";

import { launch } from "./browser.mjs";
import { startDemo } from "./demo.mjs";

const dir = process.argv[2];
if (!dir) {
  console.error("usage: node screenshots.mjs DIR");
  process.exit(2);
}
mkdirSync(dir, { recursive: true });

const pictures = {
  overview: ["#/", "prepare-shards"],
  task: ["#/tasks/bad", "attempt 2"],
};

const cluster = await startDemo();
const browser = await launch();
try {
  const page = await browser.newPage({ viewport: { width: 1100, height: 760 } });
  await page.goto(cluster.members[0].url + "/#/");
  for (let i = 1; i <= 40; i++) await cluster.submit({ name: `step-${i}`, exec: { command: ["true"] } }); // for the curve
  for (const [name, [hash, text]] of Object.entries(pictures)) {
    await page.goto(cluster.members[0].url + "/" + hash);
    await page.locator("main").getByText(text).first().waitFor();
    if (name === "overview") await page.waitForTimeout(4500); // two samples of the throughput
    await page.screenshot({ path: `${dir}/dashboard-${name}.png` });
  }
} finally {
  await browser.close();
  await cluster.stop();
}
