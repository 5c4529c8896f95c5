// What to do with a cluster in which nothing has happened yet.

import { hasToken } from "../call";
import { Command } from "../ui";

export function FirstSteps() {
  const flags = ` --server ${location.origin}${hasToken() ? " --token-file token" : ""}`;
  return (
    <section class="card first" aria-label="First steps">
      <h2>Nothing has run here yet</h2>
      <p>Make a machine a node, give it something to do, and look at what became of it:</p>
      <Command text={`raft-node agent${flags}`} />
      <Command text={`raft-node submit${flags} --wait -- echo hello`} />
      <Command text={`raft-node sql${flags} 'SELECT task_id, node_id, status FROM attempts'`} />
      <p class="dim">This page shows each step as it happens.</p>
    </section>
  );
}
