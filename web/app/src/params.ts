// The sampling parameters: which there are, in which groups, and with the bounds, defaults and descriptions that the server tells in /openapi.json.
import { call, type ModelCard } from "./api";

export type Kind = "number" | "integer" | "boolean" | "text" | "list" | "json" | "choice";

export interface Param {
  name: string;
  label: string;
  kind: Kind;
  /** The bounds of the server; what is outside is refused, but for special. */
  min?: number;
  max?: number;
  /** A value outside the bounds that has a meaning of its own. */
  special?: number;
  /** What a slider spans, within the bounds. */
  low?: number;
  high?: number;
  step?: number;
  choices?: string[];
  default?: unknown;
  description: string;
}

export interface Group {
  name: string;
  params: Param[];
}

/** What the page knows of a parameter beside what the server tells. */
interface Hint {
  label: string;
  kind?: Kind;
  low?: number;
  high?: number;
  step?: number;
}

const groups: [string, Record<string, Hint>][] = [
  ["Length", {
    max_completion_tokens: { label: "Most tokens", low: 1, high: 1024, step: 1 },
    min_tokens: { label: "Fewest tokens", low: 0, high: 256, step: 1 },
    stop: { label: "Stop at", kind: "list" },
    ignore_eos: { label: "Never end by itself" },
  }],
  ["Randomness", {
    temperature: { label: "Temperature", step: 0.05 },
    seed: { label: "Seed" },
    dynatemp_range: { label: "Dynamic range", step: 0.05 },
    dynatemp_exponent: { label: "Dynamic exponent", low: 0, high: 5, step: 0.1 },
  }],
  ["Truncation", {
    top_p: { label: "Top p", step: 0.01 },
    top_k: { label: "Top k", low: 0, high: 200, step: 1 },
    min_p: { label: "Min p", step: 0.01 },
    typical_p: { label: "Typical p", step: 0.01 },
    top_n_sigma: { label: "Top nσ", low: 0, high: 5, step: 0.1 },
    xtc_probability: { label: "XTC probability", step: 0.01 },
    xtc_threshold: { label: "XTC threshold", step: 0.01 },
    mirostat: { label: "Mirostat" },
    mirostat_tau: { label: "Mirostat τ", low: 0, high: 10, step: 0.1 },
    mirostat_eta: { label: "Mirostat η", step: 0.01 },
  }],
  ["Repetition", {
    frequency_penalty: { label: "Frequency penalty", step: 0.05 },
    presence_penalty: { label: "Presence penalty", step: 0.05 },
    repeat_penalty: { label: "Repeat penalty", low: 0.8, high: 2, step: 0.01 },
    repeat_last_n: { label: "Looks back", low: 0, high: 512, step: 1 },
    dry_multiplier: { label: "DRY multiplier", low: 0, high: 5, step: 0.05 },
    dry_base: { label: "DRY base", low: 1, high: 4, step: 0.05 },
    dry_allowed_length: { label: "DRY allowed length", low: 1, high: 20, step: 1 },
    dry_penalty_last_n: { label: "DRY looks back", low: 0, high: 1024, step: 1 },
    dry_sequence_breakers: { label: "DRY breakers", kind: "list" },
  }],
  ["Form", {
    response_format: { label: "Response format", kind: "json" },
    json_schema: { label: "JSON schema", kind: "json" },
    grammar: { label: "Grammar (GBNF)", kind: "text" },
    logit_bias: { label: "Logit bias", kind: "json" },
    reasoning_effort: { label: "Reasoning effort" },
    chat_template_kwargs: { label: "Template variables", kind: "json" },
    cache_prompt: { label: "Reuse cached prompts" },
  }],
];

/** Fields of a request that the page sets by itself, or that nobody reads. */
const own = new Set([
  "model", "messages", "stream", "stream_options", "aim", "logprobs", "top_logprobs", "n", "user", "tools", "tool_choice", "parallel_tool_calls", "functions",
  "function_call", "audio", "modalities", "prediction", "continue_final_message", "add_generation_prompt", "structured_outputs", "reasoning_format", "cache_salt",
]);

/** A property of a JSON schema, as far as it is read here. */
interface Property {
  type?: string | string[];
  minimum?: number;
  maximum?: number;
  const?: unknown;
  enum?: unknown[];
  anyOf?: Property[];
  default?: unknown;
  description?: string;
}

interface Document {
  paths?: Record<string, unknown>;
  components?: { schemas?: Record<string, { properties?: Record<string, Property> }> };
}

/** The parameters in their groups, of the server's description of its API. */
export function readParams(document: unknown): Group[] {
  const properties = (document as Document).components?.schemas?.["ChatRequest"]?.properties ?? {};
  const found = new Set<string>();
  const list = groups.map(([name, hints]) => ({
    name,
    params: Object.entries(hints).flatMap(([param, hint]) => {
      found.add(param);
      const property = properties[param];
      return property ? [readParam(param, property, hint)] : [];
    }),
  }));
  // What the server knows and this page does not yet.
  const rest = Object.entries(properties).filter(([name, p]) => !found.has(name) && !own.has(name) && !p.description?.startsWith("The same as "));
  const others = rest.map(([name, p]) => readParam(name, p, { label: name })).filter((p) => p.kind !== "json");
  if (others.length > 0) list.push({ name: "Further", params: others });
  return list.filter((g) => g.params.length > 0);
}

function readParam(name: string, property: Property, hint: Hint): Param {
  const parts = [property, ...(property.anyOf ?? [])];
  const first = <K extends keyof Property>(k: K) => parts.find((p) => p[k] !== undefined)?.[k];
  const types = parts.flatMap((p) => p.type ?? []);
  const param: Param = { name, label: hint.label, kind: hint.kind ?? kindOf(types, first("enum")), description: (property.description ?? "").replace(/ Default: .*$/s, "") };
  const min = first("minimum"), max = first("maximum"), special = first("const");
  if (min !== undefined) param.min = min;
  if (max !== undefined) param.max = max;
  if (typeof special === "number") param.special = special;
  if (property.default !== undefined) param.default = property.default;
  const values = first("enum")?.filter((v) => typeof v === "string");
  if (param.kind === "choice" && values) param.choices = values;
  if (param.kind === "integer" && typeof special === "number" && min !== undefined && min === max) {
    param.kind = "choice";
    param.choices = [String(special), String(min)];
  }
  const low = hint.low ?? min, high = hint.high ?? max;
  if (low !== undefined) param.low = Math.max(low, min ?? low);
  if (high !== undefined) param.high = Math.min(high, max ?? high);
  param.step = hint.step ?? (param.kind === "integer" ? 1 : 0.01);
  return param;
}

function kindOf(types: string[], values: unknown[] | undefined): Kind {
  if (values?.some((v) => typeof v === "string")) return "choice";
  for (const kind of ["number", "integer", "boolean"] as const) if (types.includes(kind)) return kind;
  return types.includes("array") || types.includes("object") ? "json" : "text";
}

/** The parameters as the policy of a model bounds them. */
export function bounded(list: Group[], card: ModelCard | null): Group[] {
  if (!card) return list;
  const { bounds = {}, defaults = {}, max_tokens } = card.policy;
  return list.map((g) => ({
    ...g,
    params: g.params.map((p) => {
      const q = { ...p };
      const bound = bounds[p.name];
      if (bound?.min != null) q.min = Math.max(bound.min, q.min ?? bound.min);
      if (bound?.max != null) q.max = Math.min(bound.max, q.max ?? bound.max);
      if (p.name === "max_completion_tokens" && max_tokens) q.max = Math.min(max_tokens, q.max ?? max_tokens);
      if (q.low !== undefined && q.min !== undefined) q.low = Math.max(q.low, q.min);
      if (q.high !== undefined && q.max !== undefined) q.high = Math.min(q.high, q.max);
      const standard = defaults[p.name] ?? (p.name === "max_completion_tokens" ? defaults["max_tokens"] : undefined);
      if (standard !== undefined && standard !== null) q.default = standard;
      return q;
    }),
  }));
}

/** Says what is wrong with a value; null where nothing is. */
export function problem(p: Param, value: unknown): string | null {
  if ((p.kind === "number" || p.kind === "integer") && value !== undefined) {
    if (typeof value !== "number" || !Number.isFinite(value)) return "must be a number";
    if (p.kind === "integer" && !Number.isInteger(value)) return "must be a whole number";
    if (value === p.special) return null;
    if (p.min !== undefined && value < p.min) return `must be at least ${p.min}`;
    if (p.max !== undefined && value > p.max) return `must be at most ${p.max}`;
  }
  return null;
}

/** What the server tells of its API. */
export interface Offer {
  groups: Group[];
  /** The endpoints, such as "/v1/aim/preview". */
  paths: ReadonlySet<string>;
}

/** Asks the server what it offers. */
export async function loadOffer(): Promise<Offer> {
  const document = await call<Document>("/openapi.json");
  return { groups: readParams(document), paths: new Set(Object.keys(document.paths ?? {})) };
}
