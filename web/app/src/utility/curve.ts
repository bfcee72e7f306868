// The calibrated curve of a model: which noise gives which level. Between its points it is read off linearly.
import type { CurvePoint } from "../api";

/** The curve in order of σ, from the model as it is on, with levels that never rise; null where there is none to read. */
export function readCurve(points: readonly CurvePoint[] | null | undefined): CurvePoint[] | null {
  if (!points || points.length < 2) return null;
  const list = points.filter((p) => Number.isFinite(p.sigma) && Number.isFinite(p.level)).sort((a, b) => a.sigma - b.sigma);
  if (list.length > 0 && list[0]!.sigma > 0) list.unshift({ sigma: 0, level: 1 });
  let least = Infinity;
  const falling = list.map((p) => ({ sigma: p.sigma, level: (least = Math.min(least, p.level)) }));
  return falling.length < 2 ? null : falling;
}

/** The level of a noise; null beyond the curve. */
export function levelOf(curve: readonly CurvePoint[], sigma: number): number | null {
  return between(curve, sigma, (p) => p.sigma, (p) => p.level);
}

/** The noise of a level; null where the curve does not go so low. */
export function sigmaOf(curve: readonly CurvePoint[], level: number): number | null {
  if (level >= 1) return 0;
  return between(curve, -level, (p) => -p.level, (p) => p.sigma);
}

function between(curve: readonly CurvePoint[], x: number, at: (p: CurvePoint) => number, value: (p: CurvePoint) => number): number | null {
  if (!(x >= at(curve[0]!))) return null;
  for (let i = 1; i < curve.length; i++) {
    const a = curve[i - 1]!, b = curve[i]!;
    if (x > at(b)) continue;
    const share = at(b) === at(a) ? 0 : (x - at(a)) / (at(b) - at(a));
    return value(a) + share * (value(b) - value(a));
  }
  return null;
}

/** What a level means for a reader: one token in how many is not the model's own best. */
export function meaning(level: number): string {
  if (level >= 0.9995) return "The model as it is.";
  const other = 1 - level;
  if (other <= 0.5) return `About one token in ${other < 0.1 ? Math.round(1 / other) : Number((1 / other).toFixed(1))} is not the model's own best.`;
  return `About ${Math.round(other * 100)} tokens in 100 are not the model's own best.`;
}

/** Why utility cannot be set, or how far; null where it is free. blocked says that nothing can be asked for. */
export function restraint(utility: { imposed: boolean; allowed: boolean; sigma: number | null; level: number | null } | null | undefined): { text: string; blocked: boolean } | null {
  if (!utility) return null;
  if (!utility.allowed) {
    return { blocked: true, text: utility.imposed ? "The owner of this model sets its utility, and requests may not change it." : "Your key may not change this model's utility." };
  }
  if (!utility.imposed) return null;
  const known = utility.level !== null ? ` (level ${utility.level.toFixed(2)})` : utility.sigma !== null ? ` (σ ${utility.sigma.toFixed(2)})` : "";
  return { blocked: false, text: `The owner of this model imposes a utility${known}. A request may ask for less, not for more.` };
}
