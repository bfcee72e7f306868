// What is asked of the server, with what came of it last.
import { batch, signal, type ReadonlySignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { ApiError } from "../api";

/** An answer that is asked for again and again. What failed last stands beside the last answer. */
export interface Resource<T> {
  readonly data: ReadonlySignal<T | null>;
  readonly error: ReadonlySignal<ApiError | null>;
  readonly busy: ReadonlySignal<boolean>;
  load(): Promise<void>;
  /** Takes an answer that came otherwise. */
  set(data: T): void;
  /** Forgets all, as when another key is used. */
  clear(): void;
}

export function resource<T>(ask: () => Promise<T>): Resource<T> {
  const data = signal<T | null>(null), error = signal<ApiError | null>(null), busy = signal(false);
  // An answer counts if nothing was asked since.
  let asked = 0;
  const settle = (value: T | null, failed: ApiError | null) => batch(() => {
    data.value = value;
    error.value = failed;
    busy.value = false;
  });
  return {
    data, error, busy,
    async load() {
      const mine = ++asked;
      busy.value = true;
      try {
        const value = await ask();
        if (mine === asked) settle(value, null);
      } catch (e) {
        if (mine === asked) settle(data.value, e instanceof ApiError ? e : new ApiError(String(e), 0));
      }
    },
    set(value) {
      asked++;
      settle(value, null);
    },
    clear() {
      asked++;
      settle(null, null);
    },
  };
}

/** Calls f at once, and again so many milliseconds after it ended, while the page is visible and on is true. */
export function usePoll(f: () => Promise<void>, every: number, on = true): void {
  useEffect(() => {
    if (!on) return undefined;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let over = false, running = false;
    const turn = async () => {
      clearTimeout(timer);
      if (over || running || document.visibilityState !== "visible") return;
      running = true;
      await f();
      running = false;
      if (!over) timer = setTimeout(() => void turn(), every);
    };
    const visible = () => void turn();
    document.addEventListener("visibilitychange", visible);
    void turn();
    return () => {
      over = true;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", visible);
    };
  }, [on]);
}
