// The frame around every page.

import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";

import { downSince, hasToken, signedOut, signIn, signOut } from "./call";
import { exact } from "./format";
import { helpShown } from "./keys";
import { liveState, shared } from "./live/live";
import { cluster, here, pageAt, startMembers } from "./members";
import { ClusterPage } from "./pages/cluster";
import { NodePage } from "./pages/node";
import { NodesPage } from "./pages/nodes";
import { OverviewPage } from "./pages/overview";
import { QueuesPage } from "./pages/queues";
import { SqlPage } from "./pages/sql";
import { TaskPage } from "./pages/task";
import { TasksPage } from "./pages/tasks";
import { route } from "./route";
import { nextTheme, theme } from "./theme";
import { Dialog, Empty, typed } from "./ui";

startMembers();

const places: [path: string, title: string][] = [
  ["", "Overview"], ["tasks", "Tasks"], ["nodes", "Nodes"], ["queues", "Queues"], ["sql", "SQL"], ["cluster", "Cluster"],
];

export function App() {
  const [place = "", id] = route.value.path;
  const title = places.find(([path]) => path === place)?.[1] ?? "Nothing here";
  useEffect(() => {
    document.title = `${id ? id + " · " : ""}${title} · raft-node`;
  }, [title, id]);
  return (
    <>
      <a class="skip" href="#main" onClick={(e) => (e.preventDefault(), document.getElementById("main")?.focus())}>Skip to the content</a>
      <header class="top">
        <a class="brand" href="#/">raft-node</a>
        <nav aria-label="Pages">
          {places.map(([path, name]) => <a key={path} href={`#/${path}`} aria-current={path === place ? "page" : undefined}>{name}</a>)}
        </nav>
        <div class="tools">
          <Live />
          <button type="button" aria-label={`Theme: ${theme.value}`} title={`Theme: ${theme.value}`} onClick={nextTheme}>{{ auto: "◐", light: "☀", dark: "☾" }[theme.value]}</button>
          <button type="button" aria-label="Keyboard shortcuts" title="Keyboard shortcuts" onClick={() => (helpShown.value = true)}>?</button>
          {hasToken() && !signedOut.value && <button type="button" onClick={signOut}>Sign out</button>}
        </div>
      </header>
      <Banners />
      <main id="main" tabIndex={-1}>
        <h1 class={id ? "hidden" : ""}>{title}</h1>
        {signedOut.value ? <SignIn /> : <Page place={place} id={id} />}
      </main>
      {helpShown.value && <Keys />}
    </>
  );
}

function Page({ place, id }: { place: string; id: string | undefined }): ComponentChildren {
  switch (place) {
    case "":
      return <OverviewPage />;
    case "tasks":
      return id ? <TaskPage key={id} id={id} /> : <TasksPage />;
    case "nodes":
      return id ? <NodePage key={id} id={id} /> : <NodesPage />;
    case "queues":
      return <QueuesPage />;
    case "sql":
      return <SqlPage />;
    case "cluster":
      return <ClusterPage />;
  }
  return <Empty>There is no page of this name: choose one above.</Empty>;
}

const liveWords = {
  off: "not signed in", connecting: "connecting", stream: "live", polls: "live, by polls", waiting: "reconnecting",
};

function Live() {
  const word = liveWords[liveState.value];
  return (
    <span class={`live ${liveState.value}`} role="status" title={shared.value ? "Another tab watches for this one" : "This tab watches for all tabs"}>
      <i aria-hidden="true" />{word}
    </span>
  );
}

function Banners() {
  const c = cluster.value;
  if (downSince.value) {
    const others = c?.members.filter((m) => m.address !== here) ?? [];
    return (
      <div class="banner bad" role="alert" data-banner="down">
        <span>
          The member at {here} does not answer since {new Date(downSince.value).toLocaleTimeString()}. What is shown is from before; the page goes on by itself when it is back.
        </span>
        {others.length > 0 && <span>Other members: {others.map((m) => <a key={m.name} href={pageAt(m.address)}>{m.name} ({m.address})</a>)}</span>}
      </div>
    );
  }
  if (c && !c.leader && !signedOut.value) {
    return (
      <div class="banner warn" role="alert" data-banner="leaderless">
        <span title={exact(Date.now())}>This member knows of no leader: what is shown is its own copy, as of log index {String(c.appliedIndex)}, and nothing can be changed. An election takes a second or two; if this stays, see whether a majority of the members runs.</span>
      </div>
    );
  }
  return null;
}

function SignIn() {
  const [text, setText] = useState("");
  const [error, setError] = useState("");
  const submit = async () => {
    setError("");
    setError(await signIn(text.trim()));
  };
  return (
    <form class="signin" onSubmit={(e) => (e.preventDefault(), void submit())}>
      <h2>Sign in</h2>
      <p>This cluster asks for its token: the content of the file that its members were given by <code>--token-file</code>. It is kept for this tab only, until it is closed.</p>
      <label>Token <input type="password" autocomplete="off" required value={text} onInput={typed(setText)} /></label>
      {error && <p role="alert" class="problem">{error}</p>}
      <button type="submit" class="solid">Sign in</button>
    </form>
  );
}

function Keys() {
  const keys: [string, string][] = [
    ["/", "search for tasks"], ["j, k", "next row, row before"], ["Enter", "open the row"], ["g then o, t, n, q, s, c", "Overview, Tasks, Nodes, Queues, SQL, Cluster"],
    ["Ctrl+Enter", "run the statement (SQL)"], ["?", "this list"],
  ];
  return (
    <Dialog title="Keyboard" close={() => (helpShown.value = false)}>
      <dl class="facts">{keys.map(([k, v]) => <div key={k}><dt><kbd>{k}</kbd></dt><dd>{v}</dd></div>)}</dl>
      <div class="row end"><button type="button" onClick={() => (helpShown.value = false)}>Close</button></div>
    </Dialog>
  );
}
