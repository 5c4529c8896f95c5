// Pages of the dashboard in a browser, and what every test asks of them.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before } from "node:test";

import { launch } from "./browser.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const wait_ms = 15_000;

// Pictures of the pages as tests saw them are kept here, to be looked at.
const pictures = new URL("../../.tools/web-pictures/", import.meta.url).pathname;

export let browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

// open opens a page of a member and notes what goes wrong in it.
export async function open(url, { hash = "", context, viewport } = {}) {
  const c = context ?? (await browser.newContext({ viewport: viewport ?? { width: 1280, height: 900 } }));
  const page = await c.newPage();
  page.setDefaultTimeout(wait_ms);
  page.problems = [];
  page.foreign = [];
  page.on("pageerror", (e) => page.problems.push(`error: ${e}`));
  page.on("console", (m) => m.type() === "error" && !m.text().startsWith("Failed to load resource") && page.problems.push(`console: ${m.text()}`));
  page.on("request", (r) => !r.url().startsWith(url) && !r.url().startsWith("blob:") && page.foreign.push(r.url()));
  await page.goto(`${url}/${hash}`);
  return page;
}

// close closes a page, which must have asked nobody else for anything and met no error.
export async function close(page) {
  assert.deepEqual(page.problems, []);
  assert.deepEqual(page.foreign, []);
  await page.context().close();
}

export const shown = (page, text) => page.locator("main").getByText(text).filter({ visible: true }).first().waitFor();

// confirm presses a button and the same one in the dialog that it opens.
export async function confirm(page, button, inDialog = button) {
  await page.getByRole("button", { name: button, exact: true }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("button", { name: inDialog, exact: true }).click();
  await dialog.waitFor({ state: "detached" });
}

export async function accessible(page, where) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run({ resultTypes: ["violations"] }));
  const serious = violations.filter((v) => v.impact === "serious" || v.impact === "critical");
  assert.deepEqual(serious.map((v) => `${where}: ${v.id}: ${v.help}: ${v.nodes.slice(0, 3).map((n) => n.html).join(" ")}`), []);
}

// picture keeps a picture of a page under a name.
export async function picture(page, name) {
  mkdirSync(pictures, { recursive: true });
  await page.screenshot({ path: `${pictures}${name}.png`, fullPage: true });
}
