// Previews of the steps of an answer: the model's own distribution there, and what utility alone makes of it. What was recorded with the answer tells the
// rest, because focus remembers what it did before, and a preview of one step cannot.
import { ApiError, call, type ChatRequest } from "../api";
import { card, offers } from "../store";
import { textOf, type PreviewToken } from "./rows";
import type { Target } from "./target";

interface Preview {
  tokens: PreviewToken[];
}

/** How many candidates are asked for. */
const top = 100;
/** How many previews are kept. */
const most = 400;

/** What is kept of an answer: the tokens of its prompt, null where they cannot be had, and the previews by step. */
interface Kept {
  prompt: Promise<number[] | null>;
  steps: Map<number, Promise<PreviewToken[]>>;
}

const kept = new WeakMap<ChatRequest, Kept>();

/** Why no preview can be had; null where one can. */
export function withheld(): string | null {
  if (!offers("/v1/aim/preview")) return "This server has no previews, so only the distribution after modulation is shown.";
  const policy = card.value?.policy;
  if (policy?.previews !== false) return null;
  return card.value?.utility.imposed
    ? "The owner of this model imposes its utility, so the server does not show the distribution before modulation: only what was recorded with the answer."
    : "This model's previews are withheld, so only what was recorded with the answer is shown.";
}

/** Fields of a chat request that say how its prompt is made. */
const forms = ["continue_final_message", "tools", "tool_choice", "reasoning_effort", "chat_template_kwargs"] as const;

/** The ids of the prompt's tokens. */
async function promptOf(body: ChatRequest): Promise<number[] | null> {
  const request: Record<string, unknown> = { messages: body.messages };
  if (body.model) request["model"] = body.model;
  for (const f of forms) if (body[f] !== undefined) request[f] = body[f];
  try {
    return (await call<{ tokens: number[] }>("/tokenize", { body: request })).tokens;
  } catch (error) {
    if (error instanceof ApiError && error.status !== 0 && error.status !== 401 && error.status !== 429) return null;
    throw error;
  }
}

/** The preview of a step. It is asked for once. */
export function previewOf(target: Target, step: number): Promise<PreviewToken[]> {
  let k = kept.get(target.body);
  if (!k) kept.set(target.body, (k = { prompt: promptOf(target.body), steps: new Map() }));
  const all = k;
  let p = all.steps.get(step);
  if (!p) {
    p = ask(target, step, all.prompt);
    all.steps.set(step, p);
    if (all.steps.size > most) all.steps.delete(all.steps.keys().next().value!);
    p.catch(() => {
      all.steps.delete(step);
      if (kept.get(target.body) === all && all.steps.size === 0) kept.delete(target.body);
    });
  }
  return p;
}

async function ask({ body, steps }: Target, step: number, prompt: Promise<number[] | null>): Promise<PreviewToken[]> {
  const request: Record<string, unknown> = { top_n: top };
  if (body.model) request["model"] = body.model;
  if (body.aim?.utility) request["aim"] = { utility: body.aim.utility };
  const ids = steps.slice(0, step).map((s) => s.id);
  const tokens = ids.every((id) => id !== undefined) ? await prompt : null;
  if (tokens) request["prompt"] = [...tokens, ...ids];
  else {
    // Without ids the text is cut into tokens anew, which may differ.
    const text = textOf(steps, step);
    const said = body.continue_final_message ? body.messages.at(-1)!.content : "";
    const messages = said ? body.messages.slice(0, -1) : body.messages;
    for (const f of forms) if (body[f] !== undefined) request[f] = body[f];
    request["messages"] = said + text ? [...messages, { role: "assistant", content: said + text }] : messages;
    if (said + text) request["continue_final_message"] = true;
  }
  return (await call<Preview>("/v1/aim/preview", { body: request })).tokens;
}
