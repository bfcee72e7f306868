// Which answer the inspector looks at: one of the conversation, or one that another tab hands over.
import { signal } from "@preact/signals";
import type { ChatRequest, ChoiceReport } from "../api";
import { inspected, tab, type Step } from "../store";

/** An answer with all that is known of it. */
export interface Target {
  name: string;
  /** The request it answers. */
  body: ChatRequest;
  steps: readonly Step[];
  text: string;
  report: ChoiceReport | null;
}

/** An answer that is not of the conversation; null looks at the conversation. */
export const visitor = signal<Target | null>(null);

/** Shows an answer in the inspector. */
export function inspectAnswer(target: Target): void {
  visitor.value = target;
  inspected.value = null;
  tab.value = "inspect";
}
