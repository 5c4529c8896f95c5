// The place in the dashboard is the URL's fragment, such as #/tasks?status=FAILED: it
// can be shared, is never sent to a server, and collides with no path of the API.

import { signal } from "@preact/signals";

export interface Route {
  path: string[];
  params: URLSearchParams;
}

export const route = signal<Route>(parse(location.hash));

function parse(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  return { path: path.split("/").filter(Boolean).map(unescaped), params: new URLSearchParams(query) };
}

function unescaped(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // typed by hand
  }
}

// href is the link to a page, with those parameters that are not empty.
export function href(path: string[], params: Record<string, string | string[] | undefined> = {}): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    for (const v of Array.isArray(value) ? value : [value]) if (v) query.append(name, v);
  }
  const text = query.toString();
  return "#/" + path.map(encodeURIComponent).join("/") + (text ? "?" + text : "");
}

export function go(link: string): void {
  location.hash = link;
}

// setParam changes one parameter of the page that is shown, without a new entry in
// the history: who types into a filter does not want to go back letter by letter.
export function setParam(name: string, value: string | string[]): void {
  const { path, params } = parse(location.hash);
  const all: Record<string, string[]> = {};
  for (const key of params.keys()) all[key] = params.getAll(key);
  all[name] = Array.isArray(value) ? value : [value];
  history.replaceState(null, "", href(path, all));
  route.value = parse(location.hash);
}

addEventListener("hashchange", () => {
  route.value = parse(location.hash);
});
