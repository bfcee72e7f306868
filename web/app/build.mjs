// Builds the page into web/dist: bundles under assets/ with a hash in their names, index.html, and each also compressed. With --out DIR elsewhere.
import { build } from "esbuild";
import { mkdir, readFile, readdir, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const here = dirname(fileURLToPath(import.meta.url));
const { values } = parseArgs({ options: { out: { type: "string", default: join(here, "..", "dist") } } });
const final = values.out;
const out = final + ".new";

/** The most that all of it may be, gzipped, in bytes. */
const budget = 200_000;

await rm(out, { recursive: true, force: true });
const result = await build({
  absWorkingDir: here,
  entryPoints: { main: "src/main.tsx", theme: "src/theme.ts", icon: "src/icon.svg" },
  outdir: out,
  entryNames: "assets/[name]-[hash]",
  assetNames: "assets/[name]-[hash]",
  bundle: true,
  minify: true,
  format: "esm",
  target: ["chrome123", "firefox120", "safari17.5"],
  jsx: "automatic",
  jsxImportSource: "preact",
  loader: { ".svg": "copy" },
  legalComments: "none",
  metafile: true,
  logLevel: "warning",
});

const names = {};
for (const [path, made] of Object.entries(result.metafile.outputs)) {
  const name = "/" + relative(out, join(here, path)).replaceAll("\\", "/");
  const source = made.entryPoint ?? Object.keys(made.inputs)[0];
  if (path.endsWith(".css")) names["main.css"] = name;
  else if (source?.endsWith("main.tsx")) names["main.js"] = name;
  else if (source?.endsWith("theme.ts")) names["theme.js"] = name;
  else if (path.endsWith(".svg")) names["icon.svg"] = name;
}
let page = await readFile(join(here, "src/index.html"), "utf8");
page = page.replace(/\{\{(.*?)\}\}/g, (_, name) => {
  if (!names[name]) throw new Error(`src/index.html names ${name}, which was not built`);
  return names[name];
});
await writeFile(join(out, "index.html"), page);
await writeFile(join(out, "licenses.txt"), await licenses());

let total = 0;
for (const file of await readdir(out, { recursive: true, withFileTypes: true })) {
  if (!file.isFile()) continue;
  const path = join(file.parentPath ?? file.path, file.name);
  const text = await readFile(path);
  const gzip = gzipSync(text, { level: 9 });
  const brotli = brotliCompressSync(text, { params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: text.length } });
  if (file.name !== "licenses.txt") total += gzip.length;
  await writeFile(path + ".gz", gzip);
  await writeFile(path + ".br", brotli);
}
if (total > budget) throw new Error(`the page is ${total} bytes gzipped, more than ${budget}`);

// What stands there is replaced in the end, so that a build that fails leaves the page as it was.
await writeFile(join(out, ".gitignore"), "*\n!.gitignore\n");
await mkdir(final, { recursive: true });
for (const name of await readdir(final)) await rm(join(final, name), { recursive: true });
for (const name of await readdir(out)) await rename(join(out, name), join(final, name));
await rm(out, { recursive: true });
console.log(`built the playground: ${(total / 1000).toFixed(1)} kB gzipped`);

/** licenses are those of what is bundled, which ask to be kept with it. */
async function licenses() {
  const used = new Set();
  for (const input of Object.keys(result.metafile.inputs)) {
    const found = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input);
    if (found) used.add(found[1]);
  }
  const parts = [];
  for (const name of [...used].sort()) {
    const dir = join(here, "node_modules", name);
    const { version } = JSON.parse(await readFile(join(dir, "package.json"), "utf8"));
    const files = (await readdir(dir)).filter((f) => /^licen[cs]e/i.test(f)).sort();
    if (files.length === 0) throw new Error(`${name} has no license file`);
    const texts = await Promise.all(files.map((f) => readFile(join(dir, f), "utf8")));
    parts.push(`${name} ${version}\n\n${texts.join("\n\n").trim()}\n`);
  }
  return parts.join("\n" + "-".repeat(80) + "\n\n");
}
