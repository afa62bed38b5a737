/**
 * Builds the pages into `crates/node/pages`, with a table of the files for the node (`built.rs`). The same sources give
 * the same bytes on every machine: names come from content, and nothing says when or where it was built.
 */

import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { defineConfig, type Plugin } from "vite";

const out = process.env["ADYTON_PAGES_OUT"] ?? resolve(import.meta.dirname, "../crates/node/pages");
const pages = ["consent", "console", "docs"];

/** The table of built files, as Rust that `rustfmt` leaves alone. */
function tableForTheNode(): Plugin {
  return {
    name: "table-for-the-node",
    closeBundle() {
      const assets = readdirSync(resolve(out, "assets")).sort();
      const entry = (path: string, file: string): string =>
        `    Built {\n        path: "${path}",\n        bytes: include_bytes!("${file}"),\n    },\n`;
      const entries = [...pages.map((page) => entry(`/${page}`, `${page}.html`)), ...assets.map((asset) => entry(`/assets/${asset}`, `assets/${asset}`))];
      const head = "// Made by `npm run build` in web/. Do not edit: `web/check` compares.\n";
      mkdirSync(out, { recursive: true });
      writeFileSync(resolve(out, "built.rs"), `${head}const BUILT: [Built; ${entries.length}] = [\n${entries.join("")}];\n`);
    },
  };
}

export default defineConfig({
  root: import.meta.dirname,
  publicDir: false,
  plugins: [tableForTheNode()],
  build: {
    outDir: out,
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    sourcemap: false,
    reportCompressedSize: false,
    rollupOptions: { input: Object.fromEntries(pages.map((page) => [page, resolve(import.meta.dirname, `${page}.html`)])) },
  },
});
