// What the browser keeps. Where storage is blocked everything works, and is forgotten.

// recall returns what all tabs remember under a name.
export function recall(name: string): string {
  return tried(() => localStorage.getItem("raft-node." + name)) ?? "";
}

export function remember(name: string, value: string): void {
  tried(() => localStorage.setItem("raft-node." + name, value));
}

export function forget(name: string): void {
  tried(() => localStorage.removeItem("raft-node." + name));
}

// The token is kept for this tab and as long as it is open, and in nothing that is
// sent or shared.
export const tabToken = {
  get: () => tried(() => sessionStorage.getItem("raft-node.token")) ?? "",
  set: (value: string) =>
    tried(() => (value ? sessionStorage.setItem("raft-node.token", value) : sessionStorage.removeItem("raft-node.token"))),
};

export function tried<T>(fn: () => T): T | undefined {
  try {
    return fn();
  } catch {
    return undefined;
  }
}
