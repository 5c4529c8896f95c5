// The ways by which a page hears: over TLS and HTTP/2, and after it was away for longer
// than changes are kept.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, describe, test } from "node:test";

import { Cluster, until } from "./cluster.mjs";
import { browser, close, open } from "./page.mjs";

describe("over TLS", () => {
  let cluster, url;
  before(async () => {
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0"; // the calls of this process; the browser is told below
    cluster = new Cluster();
    const [cert, key] = ["cert.pem", "key.pem"].map((f) => `${cluster.dir}/${f}`);
    execFileSync("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=raft-node",
      "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert], { stdio: "pipe" });
    await cluster.start(1, { scheme: "https", flags: ["--tls-cert", cert, "--tls-key", key, "--tls-ca", cert] });
    url = cluster.members[0].url;
  });
  after(async () => {
    await cluster?.stop();
    delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
  });

  test("calls and the watch go over HTTP/2, and a change is seen without a reload", async () => {
    const context = await browser.newContext({ ignoreHTTPSErrors: true });
    const page = await open(url, { context, hash: "#/tasks?queue=tls" });
    await page.getByText("No task matches").waitFor();
    await page.locator(".live.stream").waitFor();
    await cluster.submit({ id: "tls-1", name: "seen-over-tls", queue: "tls", exec: { command: ["true"] } });
    await page.locator("tr", { hasText: "seen-over-tls" }).locator(".badge.pending").waitFor();
    const calls = await page.evaluate(() => performance.getEntriesByType("resource").map((e) => [new URL(e.name).pathname, e.nextHopProtocol]));
    assert.ok(calls.some(([path]) => path.endsWith("/ListTasks")), JSON.stringify(calls));
    assert.deepEqual(calls.filter(([, protocol]) => protocol !== "h2"), []);
    await close(page);
  });
});

describe("away for longer than changes are kept", () => {
  let cluster, url;
  before(async () => {
    cluster = await new Cluster().start(1, { flags: ["--event-retention-entries", "1000"] });
    url = cluster.members[0].url;
  });
  after(() => cluster?.stop());

  test("the page starts anew, shows what is there now, and says nothing wrong", async () => {
    const context = await browser.newContext();
    await context.addInitScript(() => { // a stream that is refused has its status in its body
      const { fetch } = globalThis;
      globalThis.told = "";
      globalThis.fetch = async (...args) => {
        const response = await fetch(...args);
        if (response.url.endsWith("/WatchEvents")) {
          const reader = response.clone().body.pipeThrough(new TextDecoderStream()).getReader();
          const read = () => reader.read().then(({ done, value }) => !done && ((globalThis.told += value), read()), () => undefined);
          void read();
        }
        return response;
      };
    });
    const page = await open(url, { context, hash: "#/tasks?queue=away" });
    await page.getByText("No task matches").waitFor();
    await page.locator(".live.stream").waitFor();
    await cluster.submit({ id: "before", name: "from-before", queue: "away", exec: { command: ["true"] } });
    await page.getByText("from-before").waitFor();
    // The way to the watch is cut: the member ends the stream, and whatever asks for
    // another is turned away on the way.
    await context.route("**/*.EventService/*", (route) => route.fulfill({ status: 503 }));
    const [member] = cluster.members;
    await member.stop("SIGKILL");
    member.start();
    await until("the member is back", async () => (await fetch(url + "/readyz")).ok, 30_000);
    await page.locator(".live.waiting").waitFor();
    const seen = Number((await cluster.call("ClusterService/GetCluster")).appliedIndex);
    const kept = async () => (await cluster.call("QueryService/Query", { sql: "SELECT min(log_index) FROM event_log" })).rows[0][0];
    for (let i = 0; i < 1200; i++) await cluster.submit({ id: `away-${i}`, queue: "elsewhere", exec: { command: ["true"] } });
    await until("what it saw is no longer kept", async () => (await kept()) > seen, 60_000); // the leader looks every 10 s
    await cluster.submit({ id: "after", name: "from-after", queue: "away", exec: { command: ["true"] } });
    await context.unroute("**/*.EventService/*");
    await page.locator(".live.stream").waitFor();
    await page.getByText("from-after").waitFor();
    await page.getByText("from-before").waitFor();
    await until("the cursor was refused as out of range", () => page.evaluate(() => /grpc-status: 11\r\n/i.test(globalThis.told)));
    assert.deepEqual(await page.locator("main .problem").allTextContents(), []);
    await cluster.submit({ id: "live", name: "seen-live-again", queue: "away", exec: { command: ["true"] } });
    await page.getByText("seen-live-again").waitFor();
    await close(page);
  });
});
