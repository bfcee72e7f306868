// Runs src/**/*.test.ts in Node.js, each bundled first.
import { build } from "esbuild";
import { spawnSync } from "node:child_process";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const files = (await readdir(join(here, "src"), { recursive: true })).filter((f) => /\.test\.tsx?$/.test(f)).map((f) => join(here, "src", f));
const out = await mkdtemp(join(tmpdir(), "aim-web-"));
try {
  await build({
    entryPoints: files, outdir: out, outbase: join(here, "src"), outExtension: { ".js": ".mjs" }, bundle: true, format: "esm", platform: "node",
    target: "node20", jsx: "automatic", jsxImportSource: "preact", loader: { ".css": "empty" }, logLevel: "warning",
  });
  const made = (await readdir(out, { recursive: true })).filter((f) => f.endsWith(".test.mjs")).map((f) => join(out, f));
  process.exitCode = spawnSync(process.execPath, ["--test", ...made], { stdio: "inherit" }).status ?? 1;
} finally {
  await rm(out, { recursive: true, force: true });
}
