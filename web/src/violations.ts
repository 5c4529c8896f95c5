// What a refused call says of single fields: the detail google.rpc.BadRequest of its
// error, which has no stub here.

import { ConnectError } from "@connectrpc/connect";
import { BinaryReader } from "@bufbuild/protobuf/wire";

// violations returns what is wrong with each field, by its path, such as
// "queue.limits.tasks".
export function violations(reason: unknown): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const detail of ConnectError.from(reason).details) {
    if (!("type" in detail) || detail.type !== "google.rpc.BadRequest" || !(detail.value instanceof Uint8Array)) continue;
    for (const violation of parts(detail.value).filter(([no]) => no === 1)) {
      const texts = new Map(parts(violation[1]).map(([no, value]) => [no, new TextDecoder().decode(value)]));
      const path = texts.get(1);
      if (path) found.set(path, texts.get(2) ?? "");
    }
  }
  return found;
}

// parts splits a message of which every field that matters is bytes, text or a message.
function parts(message: Uint8Array): [no: number, value: Uint8Array][] {
  const out: [number, Uint8Array][] = [];
  const reader = new BinaryReader(message);
  while (reader.pos < reader.len) {
    const [no, type] = reader.tag();
    if (type === 2) out.push([no, reader.bytes()]);
    else reader.skip(type, no);
  }
  return out;
}
