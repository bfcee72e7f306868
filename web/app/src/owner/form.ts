// What is typed into the form for a key, and the request it means.
import type { Grant, KeyRequest } from "./admin";

/** What is typed into the form; it is kept until a key was made of it, so that a closed form loses nothing. */
export interface Typed {
  name: string;
  admin: boolean;
  models: string;
  lowerUtility: boolean;
  maxFocus: string;
  numbers: Record<Limit, string>;
  networks: string;
  days: string;
}

/** A limit of a grant. */
export type Limit = "requests_per_minute" | "tokens_per_minute" | "concurrency" | "tokens_per_day" | "tokens_per_month" | "priority";

/** The limits with their labels, and what nothing stands for. */
export const limits: [Limit, string, string][] = [
  ["requests_per_minute", "Requests per minute", "no limit"],
  ["tokens_per_minute", "Tokens per minute", "no limit"],
  ["concurrency", "Requests at once", "no limit"],
  ["tokens_per_day", "Tokens per day", "no limit"],
  ["tokens_per_month", "Tokens per month", "no limit"],
  ["priority", "Priority, 1 to 100", "1"],
];

/** An empty form. The first key is an administrator's, or nobody could make a second one here. */
export function untyped(first: boolean): Typed {
  return {
    name: "", admin: first, models: "", lowerUtility: false, maxFocus: "", networks: "", days: "",
    numbers: { requests_per_minute: "", tokens_per_minute: "", concurrency: "", tokens_per_day: "", tokens_per_month: "", priority: "" },
  };
}

/** Makes a request of what was typed; problems says what cannot be meant, by field. */
export function readForm(t: Typed, now = Date.now()): { request: KeyRequest; problems: Partial<Record<keyof Typed | Limit, string>> } {
  const problems: Partial<Record<keyof Typed | Limit, string>> = {};
  const grant: Grant = {};
  const name = t.name.trim();
  if (!name) problems.name = "A key needs a name.";
  if (t.admin) grant.admin = true;
  const models = words(t.models), networks = words(t.networks);
  if (models.length > 0) grant.models = models;
  if (networks.length > 0) grant.networks = networks.map((n) => (n.includes("/") ? n : `${n}/${n.includes(":") ? 128 : 32}`));
  if (t.lowerUtility) grant.lower_utility = true;
  for (const [field] of limits) {
    const text = t.numbers[field].replace(/[\s,_]/g, "");
    if (text === "") continue;
    const n = Number(text), most = field === "priority" ? 100 : Number.MAX_SAFE_INTEGER;
    if (!Number.isInteger(n) || n < 1 || n > most) problems[field] = field === "priority" ? "A whole number from 1 to 100." : "A whole number from 1 on; nothing is no limit.";
    else grant[field] = n;
  }
  if (t.maxFocus.trim() !== "") {
    const f = Number(t.maxFocus);
    if (!(f >= 0 && f <= 1)) problems.maxFocus = "A number from 0 to 1.";
    else grant.max_focus = f;
  }
  const request: KeyRequest = { name, grant };
  if (t.days !== "") request.expires = new Date(now + Number(t.days) * 86_400_000).toISOString();
  return { request, problems };
}

/** The words of a list. */
export function words(text: string): string[] {
  return text.split(/[\s,]+/).filter((w) => w !== "");
}
