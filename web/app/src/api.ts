// The typed client of the server: the parts of its API that the page uses, its errors and its streams. Every request goes to the origin of the page.

/** Role of a message. */
export type Role = "system" | "user" | "assistant";

export interface Message {
  role: Role;
  content: string;
}

/** An entry of aim.focus: words or a span of the messages, and how strongly. */
export interface FocusEntry {
  text?: string | string[];
  span?: string;
  /** Which occurrence of span, from 0. */
  index?: number;
  /** In [-1, 1]; 0 is off. */
  strength: number;
}

/** The field aim of a request. */
export interface Aim {
  utility?: { level?: number; sigma?: number };
  focus?: FocusEntry[];
  report?: boolean | { tokens: boolean };
}

/** A request to /v1/chat/completions; sampling parameters stand beside these fields. */
export interface ChatRequest {
  model?: string;
  messages: Message[];
  stream?: boolean;
  stream_options?: { include_usage: boolean };
  logprobs?: boolean;
  top_logprobs?: number;
  continue_final_message?: boolean;
  aim?: Aim;
  [parameter: string]: unknown;
}

export interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
  prompt_tokens_details?: { cached_tokens?: number };
}

/** How long an answer took at the server, in milliseconds and tokens per second. */
export interface Timings {
  cache_n: number;
  prompt_n: number;
  prompt_ms: number;
  prompt_per_second: number;
  predicted_n: number;
  predicted_ms: number;
  predicted_per_second: number;
}

export interface TokenText {
  token: string;
  bytes: number[] | null;
  id: number;
}

/** A step of a report; what tells about unmodulated logits is null where it is hidden. */
export interface StepReport extends TokenText {
  best: TokenText | null;
  flip: boolean | null;
  retention: number | null;
  kl: number | null;
  excluded: number | null;
  hits: number;
  forced: boolean;
}

export interface ChoiceReport {
  index: number;
  sigma: number | null;
  level: number | null;
  strength?: number | null;
  steps: number;
  flips: number | null;
  retention: number | null;
  kl: number | null;
  excluded: number | null;
  hits: number;
  forced: number;
  tokens?: StepReport[];
}

export interface Report extends Omit<ChoiceReport, "index" | "tokens"> {
  choices: ChoiceReport[];
}

export interface LogprobEntry {
  token: string;
  bytes: number[] | null;
  logprob: number;
}

/** The log-probability of a chosen token, and those of the most probable ones. */
export interface TokenLogprob extends LogprobEntry {
  top_logprobs: LogprobEntry[];
}

export interface ChunkChoice {
  index: number;
  delta: { role?: string; content?: string | null; reasoning_content?: string | null };
  logprobs: { content: TokenLogprob[] | null } | null;
  finish_reason: string | null;
}

/** An event of a stream. */
export interface Chunk {
  id: string;
  model: string;
  choices: ChunkChoice[];
  usage?: Usage | null;
  timings?: Timings;
  aim?: { report?: Report };
}

export interface Model {
  id: string;
  owned_by: string;
  max_model_len: number;
  description?: string;
  meta?: { n_vocab?: number; n_ctx_train?: number; n_params?: number; size?: number };
}

/** A point of a calibrated curve. */
export interface CurvePoint {
  sigma: number;
  level: number;
}

/** What GET /v1/aim/models/{id} tells of a model and of what the caller may do with it. */
export interface ModelCard {
  id: string;
  base: string;
  policy: {
    max_tokens?: number | null;
    context?: number | null;
    bounds?: Record<string, { min?: number | null; max?: number | null }>;
    defaults?: Record<string, unknown>;
    max_focus?: number | null;
    spans?: boolean;
    focus_noise?: boolean;
    logprobs?: boolean;
    reports?: boolean;
    previews?: boolean;
  };
  utility: { imposed: boolean; allowed: boolean; sigma: number | null; level: number | null };
  /** Null where it was not calibrated yet, or is hidden. */
  curve: CurvePoint[] | null;
}

/** A failed request, in OpenAI's shape. */
export class ApiError extends Error {
  constructor(
    message: string,
    /** The HTTP status; 0 where there was no answer. */
    readonly status: number,
    /** What went wrong: the server's code, or "network" without an answer and "cut" where one ended early. */
    readonly code: string | null = null,
    readonly param: string | null = null,
    /** Seconds after which to try again; null where the server does not say. */
    readonly retryAfter: number | null = null,
    /** What the server's log calls the request. */
    readonly requestId: string | null = null,
  ) {
    super(message);
    this.name = "ApiError";
  }
}

/** Whether the user, not a failure, ended a request. */
export function aborted(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}

let key: () => string = () => "";

/** Sets where the API key comes from; "" is none. */
export function setKeySource(source: () => string): void {
  key = source;
}

export interface CallOptions {
  body?: unknown;
  method?: string;
  signal?: AbortSignal;
}

/** Sends a request; fails with an ApiError unless the server answers 2xx, and with a DOMException where it was aborted. */
async function send(path: string, options: CallOptions): Promise<Response> {
  const headers: Record<string, string> = {};
  const k = key();
  if (k) headers["Authorization"] = `Bearer ${k}`;
  if (options.body !== undefined) headers["Content-Type"] = "application/json";
  let response: Response;
  try {
    response = await fetch(path, {
      method: options.method ?? (options.body === undefined ? "GET" : "POST"),
      headers,
      body: options.body === undefined ? null : JSON.stringify(options.body),
      signal: options.signal ?? null,
      credentials: "omit",
      redirect: "error",
    });
  } catch (error) {
    if (aborted(error) || options.signal?.aborted) throw new DOMException("stopped", "AbortError");
    throw new ApiError("The server cannot be reached.", 0, "network");
  }
  if (!response.ok) throw await failure(response);
  return response;
}

/** Makes an ApiError of an answer that is none. */
async function failure(response: Response): Promise<ApiError> {
  const text = await response.text().catch(() => "");
  const after = Number.parseFloat(response.headers.get("Retry-After") ?? "");
  const retryAfter = Number.isFinite(after) ? after : null;
  const id = response.headers.get("X-Request-Id");
  const error = errorFields(text);
  const message = error?.message ?? (text.slice(0, 300).trim() || `The server answered ${response.status}.`);
  return new ApiError(message, response.status, error?.code ?? null, error?.param ?? null, retryAfter, id);
}

/** Reads {"error": {…}}; null where a text is something else. */
function errorFields(text: string): { message: string; code: string | null; param: string | null } | null {
  try {
    const { error } = JSON.parse(text) as { error?: unknown };
    if (typeof error !== "object" || error === null) return null;
    const { message, code, param } = error as Record<string, unknown>;
    const text_ = (v: unknown) => (typeof v === "string" ? v : null);
    return { message: text_(message) ?? "The server failed.", code: text_(code), param: text_(param) };
  } catch {
    return null;
  }
}

/** Asks for JSON. */
export async function call<T>(path: string, options: CallOptions = {}): Promise<T> {
  const response = await send(path, options);
  try {
    return (await response.json()) as T;
  } catch (error) {
    if (aborted(error) || options.signal?.aborted) throw new DOMException("stopped", "AbortError");
    throw new ApiError("The connection broke off before the answer was whole.", 0, "cut");
  }
}

/** Asks for a stream of server-sent events, and yields each until [DONE]. Returning early from the loop, or the signal, ends the request at the server. */
export async function* stream<T = Chunk>(path: string, body: unknown, signal?: AbortSignal): AsyncGenerator<T, void, undefined> {
  const response = await send(path, signal ? { body, signal } : { body });
  const reader = response.body!.getReader();
  const decoder = new TextDecoder();
  const parser = new EventParser();
  let ended = false;
  try {
    for (;;) {
      let part: ReadableStreamReadResult<Uint8Array>;
      try {
        part = await reader.read();
      } catch (error) {
        if (aborted(error) || signal?.aborted) throw new DOMException("stopped", "AbortError");
        throw new ApiError("The connection broke off before the answer was whole.", 0, "cut");
      }
      const text = part.done ? decoder.decode() : decoder.decode(part.value, { stream: true });
      for (const data of parser.push(text)) {
        if (data === "[DONE]") {
          ended = true;
          return;
        }
        const error = data.startsWith('{"error"') ? errorFields(data) : null;
        if (error) throw new ApiError(error.message, 0, error.code ?? "failed", error.param, null, response.headers.get("X-Request-Id"));
        yield JSON.parse(data) as T;
      }
      if (part.done) throw new ApiError("The connection broke off before the answer was whole.", 0, "cut");
    }
  } finally {
    // What follows the end is nothing; without reading it, the browser would take the request for broken off.
    if (ended) void reader.read().catch(() => {});
    else reader.cancel().catch(() => {});
  }
}

/** Cuts a text that arrives in pieces into the data of server-sent events. */
export class EventParser {
  private rest = "";
  private data: string[] = [];

  push(text: string): string[] {
    const events: string[] = [];
    // A CR at the end may be half of a line's end.
    let all = this.rest + text;
    let held = "";
    if (all.endsWith("\r")) {
      held = "\r";
      all = all.slice(0, -1);
    }
    const lines = all.split(/\r\n|\n|\r/);
    this.rest = lines.pop()! + held;
    for (const line of lines) {
      if (line === "") {
        if (this.data.length > 0) events.push(this.data.join("\n"));
        this.data = [];
      } else if (line.startsWith("data:")) {
        this.data.push(line.slice(line[5] === " " ? 6 : 5));
      }
    }
    return events;
  }
}

/** Waits, before a request is made again. It fails as a request does where the signal stops it. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("stopped", "AbortError"));
    }, { once: true });
  });
}

/** The models that the caller may use. */
export async function listModels(signal?: AbortSignal): Promise<Model[]> {
  const list = await call<{ data: Model[] }>("/v1/models", signal ? { signal } : {});
  return list.data;
}

/** What may be done with a model; null where the server does not tell. */
export async function modelCard(id: string): Promise<ModelCard | null> {
  try {
    return await call<ModelCard>(`/v1/aim/models/${id.split("/").map(encodeURIComponent).join("/")}`);
  } catch (error) {
    if (error instanceof ApiError && (error.status === 404 || error.status === 403 || error.status === 405)) return null;
    throw error;
  }
}
