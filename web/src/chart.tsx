// Two simple charts in SVG. A library of charts has some 20 KB for what is not used here.

export interface Series {
  name: string;
  values: number[];
}

const width = 600;
const height = 140;

interface LinesProps {
  series: Series[];
  count: number;
  label: string;
  unit?: string;
  // show writes a value, with its unit; unit does for plain numbers.
  show?: (n: number) => string;
  from: string;
  to: string;
  small?: boolean;
}

// Lines draws series over the same evenly spaced points, so many from edge to edge. Of
// what is not known yet, at the left, it draws nothing.
export function Lines({ series, count, label, unit, show = (n) => `${short(n)} ${unit ?? ""}`.trim(), from, to, small }: LinesProps) {
  const top = nice(Math.max(...series.flatMap((s) => s.values), 1));
  const last = series.map((s) => `${s.name} ${show(s.values.at(-1) ?? 0)}`).join(", ");
  return (
    <figure class={small ? "chart small" : "chart"}>
      <svg viewBox={`0 0 ${width} ${height}`} preserveAspectRatio="none" role="img" aria-label={`${label}, now: ${last}`}>
        {[0.25, 0.5, 0.75].map((y) => <line key={y} class="grid" x1="0" x2={width} y1={height * y} y2={height * y} />)}
        {series.map((s, i) => <polyline key={s.name} class={`line s${i}`} points={points(s.values, count, top)} />)}
      </svg>
      <span class="top">{show(top)}</span>
      <figcaption>
        <span>{from}</span>
        <span class="legend">{series.map((s, i) => <span key={s.name}><i class={`s${i}`} />{s.name}</span>)}</span>
        <span>{to}</span>
      </figcaption>
    </figure>
  );
}

function points(values: number[], count: number, top: number): string {
  const step = width / Math.max(1, count - 1);
  const x = (i: number) => (count - values.length + i) * step;
  return values.map((v, i) => `${x(i).toFixed(1)},${(height - 2 - (v / top) * (height - 6)).toFixed(1)}`).join(" ");
}

// Columns draws one column for each label.
export function Columns({ labels, series, label }: { labels: string[]; series: Series[]; label: string }) {
  const top = nice(Math.max(...series.flatMap((s) => s.values), 1e-9));
  return (
    <div class="columns" role="img" aria-label={`${label}: ${series.map((s) => s.name).join(", ")} by ${labels.length} rows`}>
      <span class="top">{short(top)}</span>
      <div class="plot">
        {labels.map((l, i) => (
          <div class="group" key={i} title={`${l}: ${series.map((s) => `${s.name} ${s.values[i] ?? 0}`).join(", ")}`}>
            {series.map((s, j) => <div key={s.name} class={`col s${j}`} style={{ height: `${(100 * Math.max(0, s.values[i] ?? 0)) / top}%` }} />)}
          </div>
        ))}
      </div>
      <div class="legend">{series.map((s, i) => <span key={s.name}><i class={`s${i}`} />{s.name}</span>)}</div>
    </div>
  );
}

// nice rounds up to 1, 2 or 5 times a power of ten.
function nice(max: number): number {
  const power = 10 ** Math.floor(Math.log10(max));
  return power * ([1, 2, 5, 10].find((f) => f * power >= max) ?? 10);
}

const short = (n: number): string => (n >= 1000 ? n.toLocaleString("en", { notation: "compact" }) : String(Number(n.toPrecision(3))));
