// Charts, drawn by uPlot in the colours of the page.
import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { theme } from "../store";

export interface Series {
  label: string;
  /** A custom property of ui/tokens.css. */
  color: string;
  values: readonly (number | null)[];
  /** "line" by default. */
  draw?: "line" | "bars" | "points";
  dashed?: boolean;
}

/** The colour of a custom property, as a canvas takes it. */
function colour(name: string, within: HTMLElement): string {
  const probe = document.createElement("i");
  probe.style.color = `var(${name})`;
  within.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

function faded(color: string, alpha: number): string {
  return color.replace(/^rgb\((.*)\)$/, `rgba($1, ${alpha})`);
}

function drawn(s: Series, color: string, alone: boolean): uPlot.Series {
  if (s.draw === "bars") return { stroke: color, fill: color, width: 0, paths: uPlot.paths.bars!({ size: [0.7, 46] }), points: { show: false } };
  if (s.draw === "points") return { stroke: color, paths: () => null, points: { show: true, size: 11, fill: color, stroke: color } };
  return { stroke: color, width: 2, points: { show: false }, ...(s.dashed ? { dash: [4, 4] } : {}), ...(alone ? { fill: faded(color, 0.1) } : {}), spanGaps: true };
}

/** A chart with its legend, which tells the values under the pointer, and otherwise the last ones of what goes on. summary says in words what it shows. */
export function Chart({ x, series, summary, height = 150, time, format, formatX, min, max, xRange }: {
  x: readonly number[]; series: readonly Series[]; summary: string; height?: number;
  /** That x are seconds since 1970, and marks stand at times or at days in UTC. */
  time?: "clock" | "days";
  format: (value: number) => string; formatX: (x: number) => string; min?: number; max?: number; xRange?: [number, number];
}) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const [at, setAt] = useState<number | null>(null);
  const [dark, setDark] = useState(() => matchMedia("(prefers-color-scheme: dark)").matches);
  useEffect(() => {
    const list = matchMedia("(prefers-color-scheme: dark)");
    const change = () => setDark(list.matches);
    list.addEventListener("change", change);
    return () => list.removeEventListener("change", change);
  }, []);
  const data = [x, ...series.map((s) => s.values)] as unknown as uPlot.AlignedData;
  // What makes a chart another one, rather than the same with newer values.
  const kind = [theme.value, dark, height, series.map((s) => `${s.label} ${s.color} ${s.draw}`).join()].join("|");
  const ranges = useRef({ min, max, xRange });
  ranges.current = { min, max, xRange };

  useEffect(() => {
    const within = place.current!;
    const text = colour("--muted", within), line = colour("--line", within);
    const axis = { stroke: text, font: `11px ${getComputedStyle(within).fontFamily}`, grid: { stroke: line, width: 1 }, ticks: { show: false } };
    const made = new uPlot({
      width: within.clientWidth || 300, height,
      padding: [8, 10, 0, 0],
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, y: false, points: { size: 7 } },
      ...(time === "days" ? { tzDate: (ts: number) => uPlot.tzDate(new Date(ts * 1000), "Etc/UTC") } : {}),
      scales: {
        x: { time: time !== undefined, range: (_, low, high) => ranges.current.xRange ?? (low === high ? [low - 1, high + 1] : [low, high]) },
        y: { range: (_, low, high) => [ranges.current.min ?? low, ranges.current.max ?? (high > 0 ? high * 1.1 : 1)] },
      },
      axes: [
        { ...axis, size: 26, gap: 4, space: 60, values: (_, ticks) => ticks.map(formatX), ...(time === "days" ? { incrs: [1, 2, 7, 14, 61].map((n) => n * 86_400) } : {}) },
        { ...axis, size: 52, gap: 6, space: 34, values: (_, ticks) => ticks.map(format) },
      ],
      series: [{}, ...series.map((s) => drawn(s, colour(s.color, within), series.filter((o) => !o.draw || o.draw === "line").length === 1))],
      hooks: { setCursor: [(u) => setAt(u.cursor.idx ?? null)] },
    }, data, within);
    plot.current = made;
    const watch = new ResizeObserver(() => made.setSize({ width: within.clientWidth, height }));
    watch.observe(within);
    return () => {
      watch.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [kind]);
  useEffect(() => plot.current?.setData(data), [x, ...series.map((s) => s.values)]);

  const pointed = at !== null && at < x.length ? at : null;
  const value = (s: Series) => (pointed !== null ? s.values[pointed] : s.draw === "points" ? s.values.find((v) => v !== null) : time === "clock" ? s.values.at(-1) : undefined);
  return (
    <figure class="chart">
      <div ref={place} role="img" aria-label={summary} style={{ height: `${height}px` }} />
      <figcaption>
        {series.map((s) => {
          const v = value(s);
          return <span key={s.label}><i class={s.draw ?? "line"} style={{ "--of": `var(${s.color})` }} />{s.label}{v !== undefined && <b>{v === null ? "–" : format(v)}</b>}</span>;
        })}
        {pointed !== null && <span class="muted">{formatX(x[pointed]!)}</span>}
      </figcaption>
    </figure>
  );
}
