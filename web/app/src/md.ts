// Markdown of models, whom nobody trusts: HTML in it is text, nothing of it is fetched, links lead to the web or to mail, and what comes out is
// sanitized once more. A text that grows is cut into blocks, of which only the last changes.
import DOMPurify from "dompurify";
import { Marked, type Token, type Tokens } from "marked";

/** A part of a text: HTML that is safe, or a block of code, which is shown with buttons of its own. */
export interface Block {
  kind: "html" | "code";
  /** The source, by which a block is told from what it was before. */
  raw: string;
  html: string;
  /** Of a block of code. */
  code: string;
  language: string;
}

/** Larger blocks are shown as they are: no one writes such a paragraph, and parsing one may take the square of its length. */
const largest = 20_000;
/** Deeper nesting than this is shown as it is. */
const deepest = 24;

const escapes: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
function escape(text: string): string {
  return text.replace(/[&<>"']/g, (c) => escapes[c]!);
}

/** A link to the web or to mail; null for all others. */
function safeLink(href: string): string | null {
  return /^(https?:\/\/|mailto:)/i.test(href.trim()) ? href.trim() : null;
}

const marked = new Marked({
  gfm: true,
  breaks: true,
  async: false,
  renderer: {
    html({ text }: Tokens.HTML | Tokens.Tag) {
      return escape(text);
    },
    link({ href, title, tokens }: Tokens.Link) {
      const inner = this.parser.parseInline(tokens);
      const to = safeLink(href);
      if (!to) return inner;
      return `<a href="${escape(to)}"${title ? ` title="${escape(title)}"` : ""} target="_blank" rel="noopener noreferrer nofollow">${inner}</a>`;
    },
    // An image would be a request to another host. It is told instead.
    image({ href, text }: Tokens.Image) {
      const to = safeLink(href);
      const label = escape(text || href || "image");
      return to ? `<a href="${escape(to)}" target="_blank" rel="noopener noreferrer nofollow">[image: ${label}]</a>` : `[image: ${label}]`;
    },
    checkbox({ checked }: Tokens.Checkbox) {
      return checked ? "☑ " : "☐ ";
    },
    table(token: Tokens.Table) {
      const cell = (c: Tokens.TableCell, tag: string) => `<${tag}${c.align ? ` align="${c.align}"` : ""}>${this.parser.parseInline(c.tokens)}</${tag}>`;
      const row = (cells: Tokens.TableCell[], tag: string) => `<tr>${cells.map((c) => cell(c, tag)).join("")}</tr>`;
      return `<div class="table" tabindex="0"><table><thead>${row(token.header, "th")}</thead><tbody>${token.rows.map((r) => row(r, "td")).join("")}</tbody></table></div>`;
    },
  },
});

const allowed = {
  ALLOWED_TAGS: ["p", "br", "strong", "em", "del", "code", "pre", "a", "ul", "ol", "li", "blockquote", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "div", "table", "thead", "tbody", "tr", "th", "td"],
  ALLOWED_ATTR: ["href", "title", "target", "rel", "start", "align", "class", "tabindex"],
  ALLOWED_URI_REGEXP: /^(?:https?:\/\/|mailto:)/i,
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
};

/** Whether a text nests so deeply that a parser that calls itself would not come back. */
function nests(raw: string): boolean {
  for (const line of raw.split("\n")) {
    const prefix = /^[\s>*+-]*(?:\d+[.)][\s>*+-]*)*/.exec(line.slice(0, 2000))![0];
    if (prefix.replace(/[^>*+\-\d]/g, "").length > deepest || prefix.length > 8 * deepest) return true;
  }
  let run = 0;
  for (const c of raw) {
    run = "[]*_~`!<(".includes(c) ? run + 1 : c === " " ? run : 0;
    if (run > 200) return true;
  }
  // Delimiters that find no partner are each looked for to the end.
  return (raw.match(/[[*_~`<]/g)?.length ?? 0) > 2000;
}

function plain(raw: string): string {
  return `<p class="plain">${escape(raw)}</p>`;
}

function toBlock(token: Token, links: Record<string, unknown>): Block | null {
  if (token.type === "space" || token.type === "def") return null;
  if (token.type === "code") {
    const { text, lang } = token as Tokens.Code;
    return { kind: "code", raw: token.raw, html: "", code: text, language: /^[\w+#.-]{1,24}/.exec(lang ?? "")?.[0] ?? "" };
  }
  let html: string;
  if (token.type === "html") return { kind: "html", raw: token.raw, html: plain(token.raw), code: "", language: "" };
  try {
    const list = [token] as Token[] & { links: Record<string, unknown> };
    list.links = links;
    html = marked.parser(list as never) as string;
  } catch {
    html = plain(token.raw);
  }
  return { kind: "html", raw: token.raw, html: DOMPurify.sanitize(html, allowed), code: "", language: "" };
}

/** Makes blocks of a text that grows. Of the text before, all but the last two blocks are taken over. */
export class Markdown {
  private done: Block[] = [];
  /** Where the text begins that done does not cover, and that text's beginning. */
  private at = 0;
  private before = "";
  private last: Block[] = [];

  /** The blocks of a text. */
  blocks(source: string): Block[] {
    const text = source.replace(/\r\n?/g, "\n").replaceAll("\0", "\ufffd");
    if (text === this.before) return [...this.done, ...this.last];
    if (!text.startsWith(this.before.slice(0, this.at))) {
      this.done = [];
      this.at = 0;
    }
    const rest = text.slice(this.at);
    const tokens = lex(rest);
    const keep = Math.max(tokens.length - 2, 0);
    const old = new Map(this.last.map((b) => [b.raw, b]));
    const links = (tokens as { links?: Record<string, unknown> }).links ?? {};
    const made = tokens.map((t) => old.get(t.raw) ?? toBlock(t, links));
    for (let i = 0; i < keep; i++) {
      this.at += tokens[i]!.raw.length;
      if (made[i]) this.done.push(made[i]!);
    }
    this.last = made.slice(keep).filter((b) => b !== null);
    this.before = text;
    return [...this.done, ...this.last];
  }
}

/** The top-level tokens of a text; their raw texts make up the text. What is too much to parse is plain text, and does not cost the rest its form. */
export function lex(text: string): Token[] {
  if (text.length <= largest && !nests(text)) return parse(text);
  const list: Token[] = [];
  for (const part of parts(text)) list.push(...(fence.test(part) || (part.length <= largest && !nests(part)) ? parse(part) : [asPlain(part)]));
  return list;
}

function parse(text: string): Token[] {
  try {
    const tokens = marked.lexer(text);
    return tokens.reduce((n, t) => n + t.raw.length, 0) === text.length ? tokens : [asPlain(text)];
  } catch {
    return [asPlain(text)];
  }
}

function asPlain(text: string): Token {
  return { type: "html", raw: text, text, pre: false, block: true } as Tokens.HTML;
}

const fence = /^ {0,3}(`{3,}|~{3,})/;

/** Cuts a text into paragraphs and fenced blocks. */
function parts(text: string): string[] {
  const list: string[] = [];
  let part = "", open = "";
  const end = () => {
    if (part) list.push(part);
    part = "";
  };
  for (const line of text.split(/(?<=\n)/)) {
    const mark = fence.exec(line)?.[1];
    if (open) {
      part += line;
      if (mark && mark.startsWith(open) && line.trim() === mark) {
        open = "";
        end();
      }
      continue;
    }
    if (mark) {
      end();
      open = mark;
    }
    part += line;
    if (!open && line.trim() === "") end();
  }
  end();
  return list;
}

/** A text that grows, with its end as it is likely to become: what was opened is closed, and what would look otherwise once more is there is left out. */
export function mend(text: string): string {
  const start = text.lastIndexOf("\n\n") + 1;
  const fences = text.match(/^ {0,3}(```|~~~)/gm)?.length ?? 0;
  if (fences % 2 === 1) return text;
  let end = text.slice(start);
  // The beginning of a list or a rule would make a heading of the line above.
  end = end.replace(/\n[ \t]*(?:[-=*+]+|\d{1,3}\.?|#{1,6}|`{1,2}|\|)[ \t]*$/, "");
  end = end.replace(/!?\[([^\]\n]*)\]\([^)\n]*$/, "$1");
  end = end.replace(/(?:\*{1,3}|_{1,3}|~{1,2})$/, (marks, at: number) => (count(end.slice(0, at), marks) % 2 === 1 ? marks : ""));
  if (count(end, "`") % 2 === 1) return text.slice(0, start) + end + "`";
  if (count(end, "**") % 2 === 1) end = end.trimEnd() + "**";
  else if (count(end.replaceAll("**", ""), "*") % 2 === 1 && /(^|\s)\*\S[^*\n]*$/.test(end)) end = end.trimEnd() + "*";
  return text.slice(0, start) + end;
}

function count(text: string, part: string): number {
  return text.split(part).length - 1;
}
