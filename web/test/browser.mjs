// The browser that the tests and the pictures are made with.

import { existsSync } from "node:fs";
import { chromium } from "playwright-core";

const places = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

// launch starts Chromium. A sandbox needs rights that containers do not give; the
// pages that it opens are this project's.
export function launch() {
  const executablePath = [process.env.CHROMIUM, ...places].find((p) => p && existsSync(p));
  if (!executablePath) throw new Error("no Chromium: run scripts/chromium.sh, or give CHROMIUM=/path/to/it");
  return chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"] });
}
