// The log of an attempt as it runs.

import { useEffect, useRef, useState } from "preact/hooks";

import { followLog } from "../live/log";
import { plain } from "../plain";
import { Empty } from "../ui";

// A page holds the end of what came; more would make a browser slow.
const held_chars = 256 * 1024;

// LiveLog follows an attempt while the page is seen: a stream takes one of the few
// connections that a browser has.
export function LiveLog({ task, attempt }: { task: string; attempt: number }) {
  const [text, setText] = useState("");
  const [waiting, setWaiting] = useState(false);
  const [follows, setFollows] = useState(true);
  const [wraps, setWraps] = useState(true);
  const seen = useSeen();
  const box = useRef<HTMLPreElement>(null);
  useEffect(() => {
    if (!seen || !follows) return;
    const abort = new AbortController();
    let raw = "";
    void followLog(task, attempt, {
      state: (s) => setWaiting(s === "waiting"),
      add: (part) => {
        if (part.droppedBytes > 0n && raw) raw += `\n[${part.droppedBytes} bytes came too fast to be shown]\n`;
        raw = (raw + part.text).slice(-held_chars);
        if (part.text) setText(plain(raw));
      },
    }, abort.signal);
    return () => abort.abort();
  }, [task, attempt, seen, follows]);
  useEffect(() => {
    if (follows && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [text, follows]);
  return (
    <>
      <div class="row end">
        {waiting && <span class="dim" role="status">no answer, trying on</span>}
        <button type="button" aria-pressed={follows} onClick={() => setFollows(!follows)}>Follow</button>
        <button type="button" aria-pressed={wraps} onClick={() => setWraps(!wraps)}>Wrap</button>
      </div>
      {text ? <pre class={wraps ? "text log" : "text log unwrapped"} tabIndex={0} role="log" aria-live="off" aria-label="Output" ref={box}>{text}</pre> : <Empty>It has printed nothing yet.</Empty>}
    </>
  );
}

// useSeen tells whether the page is in view.
function useSeen(): boolean {
  const [seen, setSeen] = useState(!document.hidden);
  useEffect(() => {
    const look = () => setSeen(!document.hidden);
    document.addEventListener("visibilitychange", look);
    return () => document.removeEventListener("visibilitychange", look);
  }, []);
  return seen;
}
