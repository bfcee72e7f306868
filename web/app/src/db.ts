// What is kept in the browser: large things in IndexedDB, and in memory where that is refused (a private window, a full disk).

/** The kinds of things that are kept: conversations by their id, and the steps of answers by the id of their node. */
export type Kind = "conversations" | "steps";

let opened: Promise<IDBDatabase | null> | undefined;
const memory: Record<Kind, Map<string, unknown>> = { conversations: new Map(), steps: new Map() };

/** Whether what is kept is lost with the page. */
export async function volatile(): Promise<boolean> {
  return (await open()) === null;
}

function open(): Promise<IDBDatabase | null> {
  opened ??= new Promise((resolve) => {
    try {
      const request = indexedDB.open("aim", 1);
      request.onupgradeneeded = () => {
        request.result.createObjectStore("conversations");
        request.result.createObjectStore("steps");
      };
      request.onsuccess = () => {
        request.result.onversionchange = () => request.result.close();
        resolve(request.result);
      };
      request.onerror = () => resolve(null);
      request.onblocked = () => resolve(null);
    } catch {
      resolve(null);
    }
  });
  return opened;
}

/** Runs one request in a transaction of its own. */
async function run(kind: Kind, mode: IDBTransactionMode, ask: (s: IDBObjectStore) => IDBRequest, without: (m: Map<string, unknown>) => unknown): Promise<unknown> {
  const db = await open();
  if (!db) return without(memory[kind]);
  return new Promise((resolve, reject) => {
    const transaction = db.transaction(kind, mode);
    const request = ask(transaction.objectStore(kind));
    transaction.oncomplete = () => resolve(request.result);
    transaction.onerror = transaction.onabort = () => reject(transaction.error ?? new Error("the browser does not store this"));
  });
}

export async function put(kind: Kind, id: string, value: unknown): Promise<void> {
  await run(kind, "readwrite", (s) => s.put(value, id), (m) => void m.set(id, value));
}

export async function get<T>(kind: Kind, id: string): Promise<T | undefined> {
  return (await run(kind, "readonly", (s) => s.get(id), (m) => m.get(id))) as T | undefined;
}

export async function all<T>(kind: Kind): Promise<T[]> {
  return (await run(kind, "readonly", (s) => s.getAll(), (m) => [...m.values()])) as T[];
}

export async function remove(kind: Kind, id: string): Promise<void> {
  await run(kind, "readwrite", (s) => s.delete(id), (m) => void m.delete(id));
}

/** A text kept in localStorage; null where there is none. */
export function load(name: string): string | null {
  try {
    return localStorage.getItem("aim:" + name);
  } catch {
    return null;
  }
}

/** Keeps a text in localStorage, or forgets it where it is null. */
export function save(name: string, text: string | null): void {
  try {
    if (text === null) localStorage.removeItem("aim:" + name);
    else localStorage.setItem("aim:" + name, text);
  } catch {
    // full, or refused: it lasts as long as the page
  }
}

/** Reads JSON from localStorage; undefined where there is none. */
export function loadJSON<T>(name: string): T | undefined {
  try {
    return JSON.parse(load(name) ?? "") as T;
  } catch {
    return undefined;
  }
}
