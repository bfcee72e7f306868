// The tab "Inspect": every token of an answer, before and after modulation.
import { useEffect, useMemo, useState } from "preact/hooks";
import type { ChatRequest } from "../api";
import { path, lineage, type Node } from "../chat/tree";
import { AskBar, askMessages, askRequest, told } from "../compare/ask";
import { stepsOf } from "../compare/column";
import { Run, type Column } from "../compare/run";
import { conversation, draft, inspected, loadSteps, messagesOf, type Step } from "../store";
import { Button, Empty, Growing, IconButton } from "../ui/controls";
import { Icon } from "../ui/icons";
import { visitor, type Target } from "./target";
import { before } from "./rows";
import { TokenView } from "./view";
import "./inspect.css";

const run = new Run(told);

/** Asks for an answer to look at, which is of no conversation. */
function ask(): void {
  const messages = askMessages();
  if (!messages) return;
  const body = askRequest(messages);
  Object.assign(body, { logprobs: true, top_logprobs: 20 });
  body.aim = { ...body.aim, report: { tokens: true } };
  visitor.value = null;
  inspected.value = null;
  run.start([{ path: "/v1/chat/completions", body, columns: [{ key: "asked", body }] }]);
}

/** The answer that is looked at, as a target; undefined while its steps are read, null where there is none to look at. */
function useTarget(): { target: Target | null | undefined; node: Node | null } {
  const answers = path(conversation.value).filter((n) => n.role === "assistant" && n.state !== "streaming");
  const asked = run.columns.value["asked"];
  const own = visitor.value ?? (asked && !inspected.value ? targetOf(asked) : null);
  const wanted = inspected.value;
  const node = own ? null : ((wanted ? conversation.value.nodes[wanted] : undefined) ?? answers.at(-1) ?? null);
  const [read, setRead] = useState<{ id: string; steps: Step[] | null } | null>(null);
  useEffect(() => {
    if (!node) return;
    const { id } = node;
    void loadSteps(id).then((steps) => setRead({ id, steps: steps ?? null }), () => setRead({ id, steps: null }));
  }, [node?.id, node?.state]);
  const steps = read && read.id === node?.id ? read.steps : null;
  const body = useMemo(() => (node ? bodyOf(node, steps ?? []) : null), [node?.id, steps]);
  if (own) return { target: own, node: null };
  if (!node || !body) return { target: null, node: null };
  if (read?.id !== node.id) return { target: undefined, node };
  return { target: steps && steps.length > 0 ? { name: "An answer of the conversation", body, steps, text: node.content, report: node.report ?? null } : null, node };
}

let lastColumn: { column: Column; target: Target } | null = null;

/** The target of what was asked here; the same one as long as nothing came. */
function targetOf(column: Column): Target | null {
  if (lastColumn?.column === column) return lastColumn.target;
  const steps = stepsOf(column);
  if (!steps) return null;
  const target = { name: "Asked here", body: column.body, steps, text: column.text, report: column.report };
  lastColumn = { column, target };
  return target;
}

/** The request that an answer of the conversation had, or its continuation, where the steps are of that. */
function bodyOf(node: Node, steps: readonly Step[]): ChatRequest {
  const messages = messagesOf(lineage(conversation.value, node.parent), node.asked?.system ?? conversation.value.system);
  const body: ChatRequest = { ...(node.asked?.params ?? {}), messages };
  const said = before(node.content, steps);
  if (said) {
    messages.push({ role: "assistant", content: said });
    body.continue_final_message = true;
  }
  const model = node.model ?? draft.model.value;
  if (model) body.model = model;
  if (node.asked?.aim) body.aim = node.asked.aim;
  return body;
}

/** The tab. */
export function Inspect() {
  const { target, node } = useTarget();
  const answers = path(conversation.value).filter((n) => n.role === "assistant" && n.state !== "streaming" && n.content);
  const asked = run.columns.value["asked"];
  const [asking, setAsking] = useState(false);
  const bar = asking || (!target && target !== undefined && answers.length === 0) || run.running.value;
  const back = () => {
    visitor.value = null;
    run.clear();
  };
  return (
    <div class="inspect">
      {bar && <AskBar part="Inspect" run={run} label="Ask and inspect" onRun={ask} prompt={<Growing value={draft.prompt.value} onInput={(t) => (draft.prompt.value = t)} placeholder="A prompt, to look at every token of its answer" aria-label="Prompt" />} />}
      {(target || node) && (
        <div class="inspect-head">
          {node && answers.length > 0 ? (
            <label class="inline-field">Answer
              <select value={node.id} onChange={(e) => (inspected.value = e.currentTarget.value)}>
                {answers.map((n, i) => <option key={n.id} value={n.id}>{i + 1}. {n.content.trim().slice(0, 48)}</option>)}
                {!answers.some((n) => n.id === node.id) && <option value={node.id}>{node.content.trim().slice(0, 48)}</option>}
              </select>
            </label>
          ) : target && <span class="chip accent"><span class="chip-main">{target.name}</span>{answers.length > 0 && <IconButton icon="close" size={14} label="Back to the conversation" onClick={back} />}</span>}
          <span class="spread" />
          {!bar && <Button small icon="play" onClick={() => setAsking(true)}>Ask here</Button>}
          {asking && !run.running.value && <Button small kind="quiet" onClick={() => setAsking(false)}>Hide the prompt</Button>}
        </div>
      )}
      {asked?.failure && !visitor.value && <p class="note bad inspect-failure" role="alert"><Icon name="warning" size={16} /><span>{asked.failure.message}</span><Button small icon="retry" onClick={ask}>Retry</Button></p>}
      {target ? <TokenView key={keyOf(target)} target={target} />
        : target === null && (node ? (
          <Empty icon="inspect" title="Nothing was recorded with this answer">
            <p>Turn on “Record answers for the inspector” in the settings and ask again, or ask here.</p>
          </Empty>
        ) : (
          <Empty icon="inspect" title="Every token, before and after">
            <p>Ask something, here or in Chat. Then step through the answer with the arrow keys: what else the model might have said, what utility and focus made of it, and where the choice flipped.</p>
          </Empty>
        ))}
    </div>
  );
}

let ids = 0;
const keys = new WeakMap<ChatRequest, number>();

/** Tells one target from another, though it grows. */
function keyOf(t: Target): number {
  let k = keys.get(t.body);
  if (!k) keys.set(t.body, (k = ++ids));
  return k;
}
