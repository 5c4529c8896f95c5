// Members and agents on this machine's loopback, as child processes, for the tests and
// the pictures.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const host = "127.0.0.1";
const ready_ms = 30_000;

export const binary = process.env.RAFT_NODE_BINARY ?? new URL("../../bin/raft-node", import.meta.url).pathname;

// Process is a child that can be killed and started again with the same arguments.
class Process {
  constructor(name, args, dir) {
    Object.assign(this, { name, args, log: join(dir, name + ".log") });
  }

  start() {
    const out = openSync(this.log, "a");
    this.child = spawn(binary, this.args, { stdio: ["ignore", out, out] });
    this.ended = once(this.child, "exit");
    return this;
  }

  async stop(signal = "SIGTERM") {
    if (!this.child || this.child.exitCode !== null || this.child.signalCode !== null) return;
    this.child.kill(signal);
    await this.ended;
  }
}

// Cluster is members m1, m2 …, and agents.
export class Cluster {
  constructor() {
    this.dir = mkdtempSync(join(tmpdir(), "raft-node-web-"));
    this.members = [];
    this.agents = [];
  }

  // start starts so many members, and waits until all serve and one leads.
  async start(count, { flags = [], scheme = "http" } = {}) {
    const ports = await freePorts(count);
    const addresses = ports.map((p) => `${host}:${p}`);
    this.members = addresses.map((address, i) => {
      const name = `m${i + 1}`;
      const join_ = count > 1 ? ["--bootstrap-expect", String(count), "--join", addresses.join(",")] : [];
      const p = new Process(name, ["serve", "--name", name, "--listen", address, "--data-dir", join(this.dir, name), ...join_, ...flags], this.dir);
      return Object.assign(p, { address, url: `${scheme}://${address}` });
    });
    for (const m of this.members) m.start();
    await Promise.all(this.members.map((m) => until(`${m.name} is ready`, async () => (await fetch(m.url + "/readyz")).ok, ready_ms, () => readFileSync(m.log, "utf8"))));
    return this;
  }

  // addMember starts one more that is part of no cluster: it waits to be taken in, as
  // nobody answers where it was told to join.
  async addMember(name) {
    const [port, nobody] = await freePorts(2);
    const address = `${host}:${port}`;
    const p = new Process(name, ["serve", "--name", name, "--listen", address, "--data-dir", join(this.dir, name), "--join", `${host}:${nobody}`], this.dir).start();
    this.members.push(Object.assign(p, { address, url: `http://${address}` }));
    await until(`${name} answers`, async () => (await fetch(p.url + "/livez")).ok, ready_ms, () => readFileSync(p.log, "utf8"));
    return p;
  }

  startAgent(name, flags = []) {
    const servers = this.members.map((m) => m.url).join(",");
    const agent = new Process(name, ["agent", "--server", servers, "--name", name, ...flags], this.dir).start();
    this.agents.push(agent);
    return agent;
  }

  // call makes a call in JSON at the first member that answers.
  async call(method, body = {}, headers = {}) {
    let last;
    for (const m of this.members) {
      try {
        return await callAt(m.url, method, body, headers);
      } catch (error) {
        last = error;
      }
    }
    throw last;
  }

  // leader waits for one and returns its process.
  async leader() {
    let found;
    await until("there is a leader", async () => {
      const { leader } = await this.call("ClusterService/GetCluster");
      found = this.members.find((m) => m.name === leader && m.child.exitCode === null && m.child.signalCode === null);
      return found !== undefined;
    });
    return found;
  }

  submit(task) {
    return this.call("TaskService/SubmitTask", { task, requestId: task.id ?? crypto.randomUUID() }).then((r) => r.task);
  }

  async stop() {
    await Promise.all(this.agents.map((a) => a.stop("SIGKILL")));
    await Promise.all(this.members.map((m) => m.stop("SIGKILL")));
    rmSync(this.dir, { recursive: true, force: true });
  }
}

export async function callAt(url, method, body = {}, headers = {}) {
  const response = await fetch(`${url}/controlplane.v1.${method}`, {
    method: "POST", headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(body), signal: AbortSignal.timeout(10_000),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(`${method}: ${answer.code}: ${answer.message}`);
  return answer;
}

// until waits for something that is true at last; what throws is not true yet.
export async function until(what, check, limit_ms = 15_000, context = () => "") {
  const end = Date.now() + limit_ms;
  let last;
  while (Date.now() < end) {
    try {
      if (await check()) return;
    } catch (error) {
      last = error;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`in ${limit_ms} ms it did not come to this: ${what}${last ? ` (${last})` : ""}\n${context()}`);
}

async function freePorts(count) {
  const servers = await Promise.all(Array.from({ length: count }, async () => {
    const server = createServer().listen(0, host);
    await once(server, "listening");
    return server;
  }));
  const ports = servers.map((s) => s.address().port);
  await Promise.all(servers.map((s) => new Promise((resolve) => s.close(resolve))));
  return ports;
}
