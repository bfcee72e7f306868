// Shows markdown that grows.
import { Component } from "preact";
import { useRef } from "preact/hooks";
import { Markdown, mend, type Block } from "../md";
import { CopyButton } from "../ui/controls";

/** A text as markdown. While it is growing, what its end is likely to become is shown. */
export function MarkdownText({ text, growing }: { text: string; growing?: boolean }) {
  const parser = useRef<Markdown | null>(null);
  parser.current ??= new Markdown();
  const blocks = parser.current.blocks(growing ? mend(text) : text);
  return <div class={`markdown${growing ? " growing" : ""}`}>{blocks.map((b, i) => <Part key={i} block={b} />)}</div>;
}

/** One block, which is drawn again only when it is another. */
class Part extends Component<{ block: Block }> {
  override shouldComponentUpdate(next: { block: Block }): boolean {
    return next.block !== this.props.block;
  }

  override render() {
    const { block } = this.props;
    if (block.kind === "html") return <div class="block" dangerouslySetInnerHTML={{ __html: block.html }} />;
    return (
      <figure class="code">
        <figcaption><span>{block.language || "text"}</span><CopyButton quiet label="Copy code" text={() => block.code} /></figcaption>
        <pre tabIndex={0}><code>{block.code}</code></pre>
      </figure>
    );
  }
}
