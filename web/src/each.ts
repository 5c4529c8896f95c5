// One call for each of many things.

import { problem } from "./call";
import { plural } from "./format";

// A browser makes so many calls at the same time over HTTP/1.1, less one for the watch.
const callsAtOnce = 5;

// each makes a call for every id, several at the same time, and says of how many of the
// noun that was: "3 tasks cancelled".
export async function each(ids: string[], noun: string, what: string, call: (id: string) => Promise<unknown>): Promise<string> {
  const queue = [...ids];
  let first: unknown;
  let failed = 0;
  const work = async () => {
    for (let id = queue.shift(); id !== undefined; id = queue.shift()) {
      await call(id).catch((reason: unknown) => {
        first ??= reason;
        failed++;
      });
    }
  };
  await Promise.all(Array.from({ length: callsAtOnce }, work));
  if (first) throw new Error(`${failed} of ${plural(ids.length, noun)} could not be ${what}: ${problem(first)}`);
  return `${plural(ids.length, noun)} ${what}`;
}
