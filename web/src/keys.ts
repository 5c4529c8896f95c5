// The keyboard: / goes to the search, j and k through rows, Enter opens one, ? tells.

import { signal } from "@preact/signals";

import { go } from "./route";

export const helpShown = signal(false);

const pages: Record<string, string> = { o: "#/", t: "#/tasks", n: "#/nodes", q: "#/queues", s: "#/sql", c: "#/cluster" };
let afterG = false;

export function startKeys(): void {
  addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey || isTyping(e.target)) return;
    const page = afterG ? pages[e.key] : undefined;
    afterG = e.key === "g";
    if (page) return go(page);
    switch (e.key) {
      case "/":
        e.preventDefault();
        return search();
      case "j":
        return step(1);
      case "k":
        return step(-1);
      case "?":
        helpShown.value = !helpShown.value;
    }
  });
}

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && target.matches("input:not([type=checkbox]), textarea, select");
}

function search(): void {
  const box = document.querySelector<HTMLInputElement>("input[type=search]");
  if (box) return box.focus();
  go("#/tasks");
  setTimeout(() => document.querySelector<HTMLInputElement>("input[type=search]")?.focus(), 50);
}

// step moves the focus to the link of the next row or the one before.
function step(by: number): void {
  const links = [...document.querySelectorAll<HTMLElement>("[data-row]")];
  const at = links.findIndex((l) => l === document.activeElement);
  const next = links[at < 0 ? (by > 0 ? 0 : links.length - 1) : Math.min(links.length - 1, Math.max(0, at + by))];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
}
