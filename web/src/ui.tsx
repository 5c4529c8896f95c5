// Parts that the pages are made of.

import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

import { problem } from "./call";
import { ago, exact, percent } from "./format";
import type { Resource } from "./resource";

// now moves once a second, so that ages do.
export const now = signal(Date.now());
setInterval(() => {
  if (!document.hidden) now.value = Date.now();
}, 1000);

// Ago is a time as an age, and exactly when pointed at.
export function Ago({ at }: { at: number }) {
  if (!at) return <span class="dim">–</span>;
  return <time dateTime={new Date(at).toISOString()} title={exact(at)}>{ago(at, now.value)}</time>;
}

export function Badge({ word }: { word: string }) {
  return <span class={`badge ${word.toLowerCase()}`}>{word.toLowerCase().replaceAll("_", " ")}</span>;
}

// Bar shows how much of something is in use.
export function Bar({ part, label, text }: { part: number; label: string; text?: string }) {
  const p = Number.isFinite(part) ? Math.min(1, Math.max(0, part)) : 0;
  return (
    <div class="bar" role="meter" aria-label={label} aria-valuemin={0} aria-valuemax={100} aria-valuenow={Math.round(p * 100)} title={`${label}: ${text ?? percent(part)}`}>
      <div class="track"><div class={p > 0.9 ? "fill hot" : "fill"} style={{ width: `${p * 100}%` }} /></div>
      <span>{text ?? percent(part)}</span>
    </div>
  );
}

export function Card({ title, more, children, wide }: { title: string; more?: ComponentChildren; children: ComponentChildren; wide?: boolean }) {
  return (
    <section class={wide ? "card wide" : "card"} aria-label={title}>
      <header><h2>{title}</h2>{more && <div class="more">{more}</div>}</header>
      {children}
    </section>
  );
}

export function Empty({ children }: { children: ComponentChildren }) {
  return <div class="empty">{children}</div>;
}

// Loaded shows what was read, or that it is being read, or why it could not be.
export function Loaded<T>({ of, children }: { of: Resource<T>; children: (data: T) => ComponentChildren }) {
  return (
    <>
      {of.error && <Problem text={of.error} retry={of.reload} />}
      {of.data !== undefined ? children(of.data) : !of.error && <p class="dim" aria-busy="true">Reading…</p>}
    </>
  );
}

export function Problem({ text, retry }: { text: string; retry?: () => void }) {
  return (
    <div class="problem" role="alert">
      <span>{text}</span>
      {retry && <button type="button" onClick={retry}>Try again</button>}
    </div>
  );
}

// Action is a button for what changes something: it asks first if there is something
// to ask, cannot be pressed twice, and says what went wrong. of tells it from others of
// the same label to those who hear it; more stands below the question.
export function Action({ label, of, ask, more, act, danger, disabled }: { label: string; of?: string; ask?: string; more?: ComponentChildren; act: () => Promise<unknown>; danger?: boolean; disabled?: boolean }) {
  const [asking, setAsking] = useState(false);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState("");
  const run = async () => {
    setBusy(true);
    setError("");
    try {
      await act();
      setAsking(false);
    } catch (reason) {
      setError(problem(reason));
    }
    setBusy(false);
  };
  return (
    <>
      <button type="button" class={danger ? "danger" : ""} aria-label={of && `${label}: ${of}`} disabled={disabled || busy} onClick={() => (ask ? setAsking(true) : void run())}>{label}</button>
      {!asking && error && <Problem text={error} />}
      {asking && (
        <Dialog title={label} close={() => setAsking(false)}>
          <p>{ask}</p>
          {more}
          {error && <Problem text={error} />}
          <div class="row end">
            <button type="button" onClick={() => setAsking(false)}>Leave it</button>
            <button type="button" class={danger ? "danger solid" : "solid"} disabled={busy} onClick={() => void run()}>{label}</button>
          </div>
        </Dialog>
      )}
    </>
  );
}

export function Dialog({ title, close, children }: { title: string; close: () => void; children: ComponentChildren }) {
  const ref = useRef<HTMLDialogElement>(null);
  useEffect(() => ref.current?.showModal(), []);
  return (
    <dialog ref={ref} aria-label={title} onClose={close} onClick={(e) => e.target === ref.current && close()}>
      <h2>{title}</h2>
      {children}
    </dialog>
  );
}

// Command is something to type into a shell.
export function Command({ text }: { text: string }) {
  const [copied, setCopied] = useState(false);
  const copy = () => {
    void navigator.clipboard?.writeText(text).then(() => setCopied(true));
  };
  return (
    <div class="command">
      <code>{text}</code>
      {navigator.clipboard && <button type="button" aria-label={`Copy: ${text}`} onClick={copy}>{copied ? "Copied" : "Copy"}</button>}
    </div>
  );
}

// Labels shows them; link tells where one leads, if it leads anywhere.
export function Labels({ of, link }: { of: Record<string, string>; link?: (label: string) => string }) {
  const labels = Object.entries(of).sort(([a], [b]) => (a < b ? -1 : 1)).map(([k, v]) => `${k}=${v}`);
  return <>{labels.map((l) => (link ? <a class="label" key={l} href={link(l)}>{l}</a> : <span class="label" key={l}>{l}</span>))}</>;
}

// Facts is a list of what is so; what is empty is left out.
export function Facts({ of }: { of: [string, ComponentChildren][] }) {
  return <dl class="facts">{of.filter(([, v]) => v !== "" && v !== undefined && v !== null && v !== false).map(([k, v]) => <div key={k}><dt>{k}</dt><dd>{v}</dd></div>)}</dl>;
}

// save hands a file to the user.
export function save(name: string, parts: BlobPart[], type: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(parts, { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// typed hands on what was typed or chosen.
export const typed = (set: (text: string) => void) => (e: { currentTarget: { value: string } }) => set(e.currentTarget.value);
