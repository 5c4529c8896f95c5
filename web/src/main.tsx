import { render } from "preact";

import { App } from "./app";
import { startKeys } from "./keys";
import { startLive } from "./live/live";
import "./style.css";
import { applyTheme } from "./theme";

applyTheme();
startKeys();
startLive();
const root = document.getElementById("app");
if (root) {
  root.textContent = "";
  render(<App />, root);
}
