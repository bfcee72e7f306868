// What the owner page knows. It outlasts the tab, so that charts go on where they were.
import { effect, signal } from "@preact/signals";
import { ApiError, modelCard, type CurvePoint } from "../api";
import { apiKey } from "../store";
import { askCalibrations, askKeys, askLive, askTiers, type Key, type Live } from "./admin";
import { resource } from "./resource";

export const live = resource(askLive);
export const tiers = resource(askTiers);
export const keys = resource(askKeys);
export const calibrations = resource(askCalibrations);

/** The curves of the served models, by their names; null where a model has none. */
export const curves = resource(async () => {
  const list = tiers.data.value ?? [];
  const found = await Promise.all(list.map(async (t) => [t.id, (await modelCard(t.id))?.curve ?? null] as const));
  return new Map<string, CurvePoint[] | null>(found);
});

/** A key that was just made, with its secret, until it was put somewhere safe. */
export const made = signal<(Key & { secret: string }) | null>(null);

/** A look at the engines, at a time in seconds since 1970. */
export interface Look {
  at: number;
  live: Live;
}

/** The looks of the last minutes, the latest last. */
export const looks = signal<readonly Look[]>([]);
/** How far back charts go, in seconds. */
export const window_ = 300;

/** Looks at the engines once. */
export async function look(): Promise<void> {
  await live.load();
  const now = Date.now() / 1000;
  if (live.error.value || !live.data.value) return;
  looks.value = [...looks.value.filter((l) => now - l.at <= window_ + 10), { at: now, live: live.data.value }];
}

/** Whether an error says that the caller is no administrator. */
export function refused(e: ApiError | null): boolean {
  return e !== null && (e.status === 401 || (e.status === 403 && e.code === "admin_required"));
}

let last = apiKey.peek();
effect(() => {
  if (apiKey.value === last) return;
  last = apiKey.value;
  for (const r of [live, tiers, keys, calibrations, curves]) r.clear();
  looks.value = [];
});
