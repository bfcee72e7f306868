// The request on screen as a program: for curl, Python and JavaScript.
import { signal } from "@preact/signals";
import type { ChatRequest } from "../api";
import { request } from "../store";

/** A request to an endpoint. */
export interface Asked {
  /** Such as "/v1/chat/completions". */
  path: string;
  body: Record<string, unknown>;
}

/** What the tab that is shown would ask for; null is the request of the chat. A tab that asks otherwise sets it, and takes it back. */
export const onScreen = signal<(() => Asked | null) | null>(null);

/** The request that is on screen. */
export function asked(): Asked {
  const other = onScreen.value?.();
  if (other) return other;
  const body: ChatRequest = request();
  if (body.messages.every((m) => m.role === "system")) body.messages = [...body.messages, { role: "user", content: "What is gravity?" }];
  return { path: "/v1/chat/completions", body: { ...body, stream: true } };
}

export type Language = "curl" | "python" | "javascript";

/** Where the server is, and whether it wants a key. The key itself is never written out. */
export interface Place {
  origin: string;
  key: boolean;
}

export function toCode(language: Language, a: Asked, place: Place): string {
  return { curl, python, javascript }[language](a, place);
}

function curl({ path, body }: Asked, { origin, key }: Place): string {
  const lines = [`curl ${body["stream"] ? "-N " : ""}${origin}${path}`, `-H 'Content-Type: application/json'`];
  if (key) lines.push(`-H "Authorization: Bearer $AIM_API_KEY"`);
  lines.push(`-d '${JSON.stringify(body, null, 2).replaceAll("'", `'\\''`)}'`);
  return lines.join(" \\\n  ") + "\n";
}

/** The parameters that the SDKs of OpenAI know by name. */
const known = new Set([
  "model", "messages", "stream", "stream_options", "temperature", "top_p", "max_completion_tokens", "stop", "seed", "frequency_penalty", "presence_penalty", "logprobs", "top_logprobs",
  "response_format", "n", "reasoning_effort", "tools", "tool_choice", "logit_bias", "user",
]);

/** A value as Python writes it. */
export function pythonValue(value: unknown, indent = ""): string {
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (typeof value === "number") return String(value);
  if (typeof value === "string") return JSON.stringify(value).replace(/[\u007f-\u{10ffff}]/gu, (c) => (/\p{L}|\p{N}|\p{P}|\p{S}/u.test(c) ? c : escapePython(c)));
  const inner = indent + "    ";
  if (Array.isArray(value)) {
    const parts = value.map((v) => pythonValue(v, inner));
    return flat(parts) ? `[${parts.join(", ")}]` : `[\n${parts.map((p) => `${inner}${p},\n`).join("")}${indent}]`;
  }
  const parts = Object.entries(value).map(([k, v]) => `${JSON.stringify(k)}: ${pythonValue(v, inner)}`);
  return flat(parts) ? `{${parts.join(", ")}}` : `{\n${parts.map((p) => `${inner}${p},\n`).join("")}${indent}}`;
}

function escapePython(c: string): string {
  const code = c.codePointAt(0)!;
  return code > 0xffff ? `\\U${code.toString(16).padStart(8, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
}

function flat(parts: string[]): boolean {
  return parts.join(", ").length < 90 && !parts.some((p) => p.includes("\n"));
}

function python({ path, body }: Asked, { origin, key }: Place): string {
  const head = `${key ? "import os\n\n" : ""}from openai import OpenAI\n\nclient = OpenAI(base_url="${origin}/v1", api_key=${key ? `os.environ["AIM_API_KEY"]` : `"none"`})\n`;
  if (path !== "/v1/chat/completions") {
    const { stream: _, ...rest } = body;
    return `${head}answer = client.post("${path.replace(/^\/v1/, "")}", cast_to=object, body=${pythonValue(rest)})\nprint(answer)\n`;
  }
  const extra = Object.fromEntries(Object.entries(body).filter(([k]) => !known.has(k)));
  const args = Object.entries(body).filter(([k]) => known.has(k)).map(([k, v]) => `    ${k}=${pythonValue(v, "    ")},\n`);
  if (!body["model"]) args.unshift('    model="",\n');
  if (Object.keys(extra).length > 0) args.push(`    extra_body=${pythonValue(extra, "    ")},\n`);
  const call = `client.chat.completions.create(\n${args.join("")})\n`;
  if (!body["stream"]) return `${head}answer = ${call}print(answer.choices[0].message.content)\n`;
  return `${head}stream = ${call}for chunk in stream:\n    if chunk.choices:\n        print(chunk.choices[0].delta.content or "", end="", flush=True)\nprint()\n`;
}

/** A value as JavaScript writes it. */
function scriptValue(value: unknown, indent: string): string {
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const inner = indent + "  ";
  if (Array.isArray(value)) {
    const parts = value.map((v) => scriptValue(v, inner));
    return flat(parts) ? `[${parts.join(", ")}]` : `[\n${parts.map((p) => `${inner}${p},\n`).join("")}${indent}]`;
  }
  const parts = Object.entries(value).filter(([, v]) => v !== undefined).map(([k, v]) => `${/^[A-Za-z_]\w*$/.test(k) && k !== "__proto__" ? k : JSON.stringify(k)}: ${scriptValue(v, inner)}`);
  return flat(parts) ? `{ ${parts.join(", ")} }` : `{\n${parts.map((p) => `${inner}${p},\n`).join("")}${indent}}`;
}

function javascript({ path, body }: Asked, { origin, key }: Place): string {
  const head = `import OpenAI from "openai";\n\nconst client = new OpenAI({ baseURL: "${origin}/v1", apiKey: ${key ? "process.env.AIM_API_KEY" : `"none"`} });\n`;
  if (path !== "/v1/chat/completions") {
    const { stream: _, ...rest } = body;
    return `${head}const answer = await client.post("${path.replace(/^\/v1/, "")}", { body: ${scriptValue(rest, "")} });\nconsole.log(JSON.stringify(answer, null, 2));\n`;
  }
  const call = `await client.chat.completions.create(${scriptValue(body["model"] ? body : { model: "", ...body }, "")});\n`;
  if (!body["stream"]) return `${head}const answer = ${call}console.log(answer.choices[0].message.content);\n`;
  return `${head}const stream = ${call}for await (const chunk of stream) process.stdout.write(chunk.choices[0]?.delta?.content ?? "");\n`;
}
