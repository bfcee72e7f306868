// The tab Chat: the conversation, and where the next message is typed.
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { conversation, draft, restored } from "../store";
import { Button } from "../ui/controls";
import { Icon } from "../ui/icons";
import "./chat.css";
import { Composer } from "./composer";
import { MessageView } from "./message";
import { runOf, runs, sendPrompt } from "./run";
import { Tour } from "./tour";
import { path } from "./tree";

export { Sidebar } from "./sidebar";

const examples = ["What is gravity?", "Describe a river. Mention the rain often.", "Plan a dinner for four. Only vegetarian dishes.", "Explain a rainbow to a child, in three sentences."];

/** The tab. */
export function Chat() {
  const c = conversation.value;
  const nodes = path(c);
  const list = useRef<HTMLDivElement>(null);
  const end = useRef<HTMLDivElement>(null);
  // Whether the end is in view, which then stays so while an answer grows.
  const follow = useRef(true);
  const [away, setAway] = useState(false);
  const run = runOf(c.id);
  const toEnd = () => list.current?.scrollTo({ top: list.current.scrollHeight });
  useLayoutEffect(() => {
    follow.current = true;
    toEnd();
  }, [c.id]);
  useLayoutEffect(() => {
    if (follow.current) toEnd();
  });
  useEffect(() => {
    if (run) follow.current = true;
    toEnd();
  }, [run?.node]);
  useEffect(() => {
    const inside = end.current?.parentElement;
    if (!inside) return undefined;
    const observer = new ResizeObserver(() => { if (follow.current) toEnd(); });
    observer.observe(inside);
    return () => observer.disconnect();
  }, [nodes.length === 0]);
  const scrolled = () => {
    const e = list.current!;
    follow.current = e.scrollHeight - e.scrollTop - e.clientHeight < 60;
    setAway(!follow.current);
  };
  return (
    <div class="chat">
      <div class="messages" ref={list} onScroll={scrolled} tabIndex={-1}>
        {nodes.length === 0 ? restored.value && <Welcome /> : (
          <div class="messages-inside" role="log" aria-label="Conversation" aria-live="off">
            {c.system.trim() && <details class="system-note"><summary>System prompt</summary><p>{c.system}</p></details>}
            {nodes.map((n, i) => <MessageView key={n.id} node={n} last={i === nodes.length - 1} />)}
            <div ref={end} />
          </div>
        )}
      </div>
      <div class="chat-foot">
        {away && <Button small class="to-end" onClick={() => { follow.current = true; toEnd(); }}><Icon name="down" size={16} />Latest</Button>}
        <Tour />
        <Composer />
      </div>
      <Spoken />
    </div>
  );
}

function Welcome() {
  return (
    <div class="welcome">
      <h2>See modulation happen</h2>
      <p>One set of weights, many models. Ask something, then turn <b>utility</b> down or put a word in <b>focus</b>, ask again, and watch the words change.</p>
      <ul class="examples">
        {examples.map((e) => (
          <li key={e}><button type="button" onClick={() => { draft.prompt.value = e; sendPrompt(); }}><span>{e}</span><Icon name="send" size={16} /></button></li>
        ))}
      </ul>
    </div>
  );
}

/** Reads an answer to who does not see it: some seconds' worth at a time, so that it does not stammer. */
function Spoken() {
  const [said, setSaid] = useState("");
  const at = useRef<{ node: string; length: number }>({ node: "", length: 0 });
  const current = runOf(conversation.value.id);
  useEffect(() => {
    if (!current) return undefined;
    at.current = { node: current.node, length: current.text.peek().length };
    const say = (whole: boolean) => {
      const text = current.text.peek().slice(at.current.length);
      const cut = whole ? text.length : Math.max(text.lastIndexOf(". "), text.lastIndexOf("\n")) + 1;
      if (cut <= 0) return;
      at.current.length += cut;
      setSaid(text.slice(0, cut).trim());
    };
    setSaid("The answer begins.");
    const timer = setInterval(() => say(false), 3000);
    return () => {
      clearInterval(timer);
      say(true);
      if (!runs.peek().has(current.node)) setTimeout(() => setSaid((s) => `${s} End of the answer.`.trim()), 1500);
    };
  }, [current?.node]);
  return <div class="offscreen" aria-live="polite">{said}</div>;
}
