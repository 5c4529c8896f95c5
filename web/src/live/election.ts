// One of the open tabs holds the watch and tells the others: over HTTP/1.1 a browser
// opens six connections to a member at most, for all tabs together.
//
// The tabs agree by a lease in localStorage. Web Locks would be simpler, and are not
// there without TLS except on loopback. Two holders for a moment are harmless: what
// comes twice is told by its cursor.

import { forget, recall, remember, tried } from "../store";

const lease_ms = 3_000;
const renew_ms = 1_000;

const me = String(Math.random()).slice(2);

interface Lease {
  holder: string;
  until_ms: number;
}

function current(): Lease | undefined {
  const lease = tried(() => JSON.parse(recall("watch")) as Lease);
  return lease && lease.until_ms > Date.now() && lease.until_ms < Date.now() + 2 * lease_ms ? lease : undefined;
}

// campaign calls lead when this tab is to hold the watch, and yield when it no longer
// is. wanted says whether the tab can hold it at all.
export function campaign(wanted: () => boolean, lead: () => void, yieldUp: () => void): void {
  let leading = false;
  const become = (now: boolean) => {
    if (now === leading) return;
    leading = now;
    if (now) lead();
    else yieldUp();
  };
  const tick = () => {
    const lease = current();
    const mine = lease?.holder === me;
    if (!wanted()) {
      if (mine) forget("watch");
      become(false);
    } else if (!lease || mine) {
      remember("watch", JSON.stringify({ holder: me, until_ms: Date.now() + lease_ms } satisfies Lease));
      const got = current();
      become(!got || got.holder === me); // without storage every tab is on its own
    } else {
      become(false);
    }
  };
  tick();
  setInterval(tick, renew_ms);
  addEventListener("storage", (e) => e.key === "raft-node.watch" && setTimeout(tick, Math.random() * 50));
  addEventListener("visibilitychange", tick);
  addEventListener("pageshow", tick);
  addEventListener("pagehide", () => {
    if (leading) forget("watch");
    become(false);
  });
}
