// JSON that can be folded; other text as it is.

import { tried } from "./store";

// deeper than this it is folded at first.
const openDepth = 2;
const shownItems = 200;

export function Json({ text }: { text: string }) {
  const value = tried(() => JSON.parse(text) as unknown);
  if (value === undefined) return <pre class="text" tabIndex={0}>{text}</pre>;
  return <div class="json" tabIndex={0} role="group" aria-label="JSON"><Node value={value} depth={0} /></div>;
}

function Node({ value, name, depth }: { value: unknown; name?: string; depth: number }) {
  const key = name !== undefined && <span class="key">{name}: </span>;
  if (typeof value !== "object" || value === null) {
    return <div>{key}<span class={value === null ? "null" : typeof value}>{JSON.stringify(value)}</span></div>;
  }
  const items = Object.entries(value);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  if (items.length === 0) return <div>{key}{open}{close}</div>;
  return (
    <details open={depth < openDepth}>
      <summary>{key}{open}<span class="dim"> {items.length} </span>{close}</summary>
      <div class="inner">
        {items.slice(0, shownItems).map(([k, v]) => <Node key={k} name={k} value={v} depth={depth + 1} />)}
        {items.length > shownItems && <div class="dim">and {items.length - shownItems} more</div>}
      </div>
    </details>
  );
}
