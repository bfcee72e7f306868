// Runs that are shown side by side: each column is an answer that streams in, from a request of its own or as a choice of a shared one.
import { signal } from "@preact/signals";
import { aborted, ApiError, pause, stream, type ChatRequest, type ChoiceReport, type TokenLogprob } from "../api";

export interface Column {
  key: string;
  state: "waiting" | "streaming" | "done" | "stopped" | "failed";
  text: string;
  logprobs: readonly TokenLogprob[];
  /** Pieces that came, of about a token each, until the report says how many tokens there were. */
  pieces: number;
  /** When the first and the last piece came, in milliseconds. */
  first: number | null;
  last: number | null;
  finish: string | null;
  report: ChoiceReport | null;
  failure: ApiError | null;
  /** What it was asked for with. */
  body: ChatRequest;
}

/** A request, and which columns its choices fill. */
export interface Job {
  path: string;
  body: Record<string, unknown>;
  columns: { key: string; body: ChatRequest }[];
}

/** What is waited for rather than told as a failure, by its code. */
const waits: Record<string, string> = {
  calibrating: "The model is being measured, so that levels mean something. It happens once, and takes up to a minute …",
  loading: "The model is still loading …",
};
/** How often it is. */
const tries = 60;

export class Run {
  readonly columns = signal<Readonly<Record<string, Column>>>({});
  readonly running = signal(false);
  /** What is being waited for before anything streams; null is nothing. */
  readonly waiting = signal<string | null>(null);
  private jobs = new Map<AbortController, Job>();
  private changed = new Map<string, Column>();
  private frame = 0;

  /** failed hears of each failure, once for all columns that it meets. */
  constructor(private readonly failed: (error: ApiError) => void = () => {}) {}

  /** Starts jobs; columns of other runs stay, those of these jobs begin anew. */
  start(jobs: readonly Job[], done?: () => void): void {
    for (const job of jobs) {
      const keys = new Set(job.columns.map((c) => c.key));
      // An older job goes on as long as one of its columns is still wanted.
      for (const [control, other] of this.jobs) if (other.columns.every((c) => keys.has(c.key))) control.abort();
      for (const c of job.columns) {
        this.set({ key: c.key, state: "waiting", text: "", logprobs: [], pieces: 0, first: null, last: null, finish: null, report: null, failure: null, body: c.body });
      }
    }
    this.flush();
    this.running.value = true;
    void Promise.all(jobs.map((job) => this.run(job))).then(() => done?.());
  }

  stop(): void {
    for (const control of this.jobs.keys()) control.abort();
  }

  clear(): void {
    this.stop();
    this.changed.clear();
    this.columns.value = {};
  }

  private async run(job: Job): Promise<void> {
    const control = new AbortController();
    this.jobs.set(control, job);
    try {
      for (let n = 0; ; n++) {
        try {
          await this.attempt(job, control.signal);
          break;
        } catch (error) {
          const text = error instanceof ApiError ? waits[error.code ?? ""] : undefined;
          if (!(error instanceof ApiError) || !text || n >= tries) throw error;
          this.waiting.value = text;
          await pause((error.retryAfter ?? 5) * 1000, control.signal);
        }
      }
    } catch (error) {
      const stopped = aborted(error);
      const failure = stopped ? null : error instanceof ApiError ? error : new ApiError(String(error), 0, "failed");
      if (failure) this.failed(failure);
      for (const { key, body } of job.columns) {
        const c = this.get(key);
        if (c?.body === body && (c.state === "waiting" || c.state === "streaming")) this.set({ ...c, state: stopped ? "stopped" : "failed", failure });
      }
    } finally {
      this.jobs.delete(control);
      if (this.jobs.size === 0) {
        this.running.value = false;
        this.waiting.value = null;
      }
      this.flush();
    }
  }

  private async attempt(job: Job, signal: AbortSignal): Promise<void> {
    for await (const chunk of stream(job.path, { ...job.body, stream: true, stream_options: { include_usage: true } }, signal)) {
      this.waiting.value = null;
      const now = performance.now();
      for (const choice of chunk.choices) {
        const c = this.column(job, choice.index);
        if (!c) continue;
        const content = choice.delta.content ?? "", said = content + (choice.delta.reasoning_content ?? "");
        const logprobs = choice.logprobs?.content ?? [];
        this.set({
          ...c, state: choice.finish_reason ? "done" : "streaming", text: c.text + content, finish: choice.finish_reason ?? c.finish,
          logprobs: logprobs.length > 0 ? [...c.logprobs, ...logprobs] : c.logprobs, pieces: c.pieces + (logprobs.length || (said ? 1 : 0)),
          first: c.first ?? (said ? now : null), last: said ? now : c.last,
        });
      }
      for (const report of chunk.aim?.report?.choices ?? []) {
        const c = this.column(job, report.index);
        if (c) this.set({ ...c, report });
      }
    }
  }

  /** The column of a choice; undefined where it is another job's by now. */
  private column(job: Job, index: number): Column | undefined {
    const { key, body } = job.columns[index] ?? {};
    const c = key === undefined ? undefined : this.get(key);
    return c?.body === body ? c : undefined;
  }

  private get(key: string): Column | undefined {
    return this.changed.get(key) ?? this.columns.value[key];
  }

  private set(c: Column): void {
    this.changed.set(c.key, c);
    this.frame ||= setTimeout(() => this.flush(), 60) as unknown as number;
  }

  private flush(): void {
    clearTimeout(this.frame);
    this.frame = 0;
    if (this.changed.size === 0) return;
    this.columns.value = { ...this.columns.value, ...Object.fromEntries(this.changed) };
    this.changed.clear();
  }
}

/** Tokens that a column has, as far as is known. */
export function tokensOf(c: Column): number {
  return c.report?.steps ?? c.pieces;
}

/** Tokens per second from the first token on; null where there are too few. */
export function speedOf(c: Column): number | null {
  return c.first === null || c.last === null || c.pieces < 2 || c.last <= c.first ? null : ((c.pieces - 1) / (c.last - c.first)) * 1000;
}
