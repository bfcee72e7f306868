// The curve of a model as a chart: the level along the dial, and over each the noise that gives it.
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import type { CurvePoint } from "../api";
import { theme } from "../store";
import { sigmaOf } from "./curve";

/** A colour of tokens.css as a canvas takes it. */
function color(name: string, on: HTMLElement): string {
  const probe = document.createElement("i");
  probe.style.color = `var(--${name})`;
  on.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

interface Shown {
  curve: readonly CurvePoint[];
  low: number;
  level: number;
  /** No level above this may be asked for. */
  most: number;
}

/** Half the width of a slider's thumb, by which its ends stand in. */
const inset = 8;

/** The curve, with the level that is set marked. It is a picture beside the slider; a pointer can set the level in it. */
export function Curve({ curve, low, level, most, disabled, onPick }: Shown & { disabled: boolean; onPick: (level: number) => void }) {
  const root = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const now = useRef<Shown>({ curve, low, level, most });
  now.current = { curve, low, level, most };
  const dark = theme.value;

  useEffect(() => {
    const e = root.current!;
    const make = () => {
      plot.current?.destroy();
      plot.current = new uPlot(options(e, now), data(now.current), e);
    };
    make();
    const media = matchMedia("(prefers-color-scheme: dark)");
    media.addEventListener("change", make);
    const size = new ResizeObserver(() => plot.current?.setSize({ width: Math.max(80, e.clientWidth), height: height(e) }));
    size.observe(e);
    return () => {
      size.disconnect();
      media.removeEventListener("change", make);
      plot.current?.destroy();
      plot.current = null;
    };
  }, [dark, curve, low]);
  useEffect(() => plot.current?.redraw(false), [level, most]);

  const pick = (e: PointerEvent) => {
    const u = plot.current;
    if (!u || disabled) return;
    const box = u.over.getBoundingClientRect();
    const value = u.posToVal(e.clientX - box.left, "x");
    onPick(Math.round(Math.min(1, Math.max(low, value)) * 100) / 100);
  };
  return (
    <div
      ref={root} class={`curve${disabled ? " off" : ""}`} aria-hidden="true"
      onPointerDown={(e) => { e.currentTarget.setPointerCapture(e.pointerId); pick(e); }}
      onPointerMove={(e) => { if (e.currentTarget.hasPointerCapture(e.pointerId)) pick(e); }}
    />
  );
}

function height(e: HTMLElement): number {
  return Math.max(90, e.clientHeight);
}

function data({ curve, low }: Shown): uPlot.AlignedData {
  const points = curve.filter((p) => p.level >= low).reverse();
  const first = sigmaOf(curve, low);
  const list = first === null ? points : [{ sigma: first, level: low }, ...points.filter((p) => p.level > low)];
  const x = list.map((p) => p.level), y = list.map((p) => p.sigma);
  if (x[x.length - 1]! < 1) {
    x.push(1);
    y.push(0);
  }
  return [x, y];
}

function options(e: HTMLElement, now: { current: Shown }): uPlot.Options {
  const line = color("series-1", e), fill = color("accent-soft", e), muted = color("muted", e), ground = color("surface", e), lower = color("sunken", e);
  const font = `11px ${getComputedStyle(e).fontFamily}`;
  return {
    width: Math.max(80, e.clientWidth), height: height(e), padding: [8, inset, 0, inset],
    legend: { show: false }, cursor: { show: false }, select: { show: false, left: 0, top: 0, width: 0, height: 0 },
    scales: { x: { time: false, range: () => [now.current.low, 1] }, y: { range: (_, __, max) => [0, max * 1.08 || 1] } },
    axes: [
      { stroke: muted, font, size: 25, gap: 8, grid: { show: false }, ticks: { show: false }, splits: () => [0.2, 0.4, 0.6, 0.8, 1], values: (_, v) => v.map((x) => x.toFixed(1)) },
      { stroke: muted, font, show: true, side: 1, size: 0, gap: -14, grid: { show: false }, ticks: { show: false }, splits: (_, __, low, high) => [1, 2, 3, 4, 5, 6, 8, 10].filter((s) => s > low && s < high * 0.95), values: (_, v) => v.map((x, i) => (i === v.length - 1 ? `σ ${x}` : String(x))) },
    ],
    series: [{}, { stroke: line, width: 2, fill, points: { show: false } }],
    hooks: {
      drawClear: [(u) => {
        const { most } = now.current;
        if (most >= 1) return;
        const from = u.valToPos(most, "x", true);
        u.ctx.fillStyle = lower;
        u.ctx.fillRect(from, u.bbox.top, u.bbox.left + u.bbox.width - from, u.bbox.height);
      }],
      draw: [(u) => {
        const { curve, level } = now.current;
        const sigma = sigmaOf(curve, level);
        const x = u.valToPos(level, "x", true), bottom = u.bbox.top + u.bbox.height;
        const y = sigma === null ? u.bbox.top : u.valToPos(sigma, "y", true);
        const { ctx } = u, ratio = devicePixelRatio;
        ctx.save();
        ctx.strokeStyle = line;
        ctx.fillStyle = line;
        ctx.lineWidth = 1.5 * ratio;
        ctx.setLineDash([3 * ratio, 3 * ratio]);
        ctx.beginPath();
        ctx.moveTo(x, bottom);
        ctx.lineTo(x, y);
        ctx.stroke();
        ctx.setLineDash([]);
        ctx.beginPath();
        ctx.arc(x, y, 5.5 * ratio, 0, 2 * Math.PI);
        ctx.fill();
        ctx.lineWidth = 2 * ratio;
        ctx.strokeStyle = ground;
        ctx.stroke();
        ctx.restore();
      }],
    },
  };
}
