// What administrators may ask the server: the endpoints under /admin, as server/admin.go and server/live.go answer them.
import { call, type CurvePoint } from "../api";

/** A served model as its owner sees it. */
export interface Tier {
  id: string;
  base?: string;
  loaded: boolean;
  /** What is imposed, in logits, and what it means; null where that is not known. */
  sigma: number;
  level: number | null;
  engine: { slots: number; busy: number; queued: number } | null;
}

export interface Engine {
  name: string;
  slots: number;
  busy: number;
  queued: number;
  kv_cells: number;
  kv_used: number;
  tokens_per_second: number;
  prompt_tokens_per_second: number;
}

/** What the engines do, and how long the answers of the last five minutes took, in seconds; null where there were none. */
export interface Live {
  uptime_s: number;
  engines: Engine[];
  latency: {
    first_token_p50_s: number | null;
    first_token_p95_s: number | null;
    inter_token_p50_s: number | null;
    inter_token_p95_s: number | null;
  };
  requests_per_minute: number;
}

export interface Calibration {
  model: string;
  state: "running" | "done" | "failed";
  /** How much is done, in [0, 1]. */
  fraction: number;
  error?: string;
  began: string;
  measured?: string;
  curve: CurvePoint[] | null;
}

/** What a key may do; what is not there is not limited. */
export interface Grant {
  admin?: boolean;
  models?: string[];
  requests_per_minute?: number;
  tokens_per_minute?: number;
  concurrency?: number;
  tokens_per_day?: number;
  tokens_per_month?: number;
  networks?: string[];
  priority?: number;
  lower_utility?: boolean;
  max_focus?: number;
}

export interface Key {
  id: string;
  prefix: string;
  name: string;
  created: string;
  expires?: string;
  revoked?: string;
  grant: Grant;
}

/** What was used, of a key, a model or a period where these are told apart. */
export interface Total {
  key?: string;
  model?: string;
  period?: string;
  requests: number;
  failed: number;
  prompt_tokens: number;
  cached_tokens: number;
  completion_tokens: number;
}

async function list<T>(path: string): Promise<T[]> {
  return (await call<{ data: T[] }>(path)).data;
}

export const askTiers = () => list<Tier>("/admin/models");
export const askLive = () => call<Live>("/admin/live");
export const askKeys = () => list<Key>("/admin/keys");
export const askCalibrations = () => list<Calibration>("/admin/calibrations");

/** Begins to measure a model, and gives the measurements since the server's start. */
export async function calibrate(model: string): Promise<Calibration[]> {
  return (await call<{ data: Calibration[] }>("/admin/calibrations", { body: { model } })).data;
}

export interface KeyRequest {
  name: string;
  /** A time as RFC 3339 has it. */
  expires?: string;
  grant: Grant;
}

/** Makes a key. Its secret is in this answer and nowhere else. */
export const createKey = (body: KeyRequest) => call<Key & { secret: string }>("/admin/keys", { body });
export const revokeKey = (id: string) => call<Key>(`/admin/keys/${encodeURIComponent(id)}`, { method: "DELETE" });

/** Sums up usage since a day in UTC; "" is the beginning. */
export function askUsage(by: "key" | "model" | "day", from: string): Promise<Total[]> {
  return list<Total>(`/admin/usage?${new URLSearchParams({ by, ...(from ? { from } : {}) }).toString()}`);
}
