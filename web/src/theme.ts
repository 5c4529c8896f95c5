// Light or dark: as the system says, until the user says otherwise.

import { signal } from "@preact/signals";

import { recall, remember } from "./store";

export type Theme = "auto" | "light" | "dark";

const themes: Theme[] = ["auto", "light", "dark"];

export const theme = signal<Theme>(themes.find((t) => t === recall("theme")) ?? "auto");

export function applyTheme(): void {
  document.documentElement.dataset["theme"] = theme.value;
}

// nextTheme goes on to the next of the three.
export function nextTheme(): void {
  theme.value = themes[(themes.indexOf(theme.value) + 1) % themes.length] ?? "auto";
  remember("theme", theme.value);
  applyTheme();
}
