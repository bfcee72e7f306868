// Styles are bundled, and the tests' modules are Node's, whose types nothing else needs.
declare module "*.css";
declare module "node:assert/strict";
declare module "node:child_process";
declare module "node:test";
