// Numbers and times as they are shown.

/** A whole number, with separators; of a million on, rounded. */
export function whole(n: number): string {
  return n >= 1e7 ? `${(n / 1e6).toFixed(1)} M` : Math.round(n).toLocaleString("en");
}

/** A few digits. */
export function few(x: number): string {
  return x === 0 ? "0" : Math.abs(x) >= 100 ? x.toFixed(0) : Math.abs(x) >= 10 ? x.toFixed(1) : x.toFixed(2);
}

/** Seconds, in the unit that suits them. */
export function seconds(s: number | null): string {
  if (s === null) return "–";
  return s < 0.9995 ? `${few(s * 1000)} ms` : `${few(s)} s`;
}

/** How long, in two units. */
export function span(s: number): string {
  const units: [string, number][] = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const at = units.findIndex(([, size]) => s >= size);
  if (at < 0) return "0 s";
  const [unit, size] = units[at]!;
  const next = units[at + 1];
  const rest = next ? Math.floor((s % size) / next[1]) : 0;
  return `${Math.floor(s / size)} ${unit}${rest > 0 ? ` ${rest} ${next![0]}` : ""}`;
}

/** A time as RFC 3339 has it, as the day it is here. */
export function day(time: string): string {
  return new Date(time).toLocaleDateString("en", { day: "numeric", month: "short", year: "numeric" });
}

/** A time of day as RFC 3339 has it, here. */
export function clock(time: string): string {
  return new Date(time).toLocaleTimeString("en", { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
}

/** The day so many days ago in UTC, as the server counts days. */
export function daysAgo(n: number, now = new Date()): string {
  return new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate() - n)).toISOString().slice(0, 10);
}
