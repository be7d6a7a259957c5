// Takes the picture of the dashboard in the guide: `npm install && node picture.mjs http://127.0.0.1:9090 dashboard.png`.
//
// It asks a running Prometheus what Grafana would ask it, draws the answers with Grafana's components (Grafana itself is
// in no package registry), and lets Chromium take the picture.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";

const [prometheus, file, minutes = "10"] = process.argv.slice(2);
if (!file) throw new Error("usage: node picture.mjs URL-OF-PROMETHEUS FILE.png [MINUTES]");

const dashboard = JSON.parse(readFileSync(new URL("../dashboard.json", import.meta.url), "utf8"));
const to = Date.now();
const from = to - Number(minutes) * 60_000;
const answers = {};
for (const target of dashboard.panels.flatMap((panel) => panel.targets ?? [])) {
  const query = target.expr.replaceAll("$__rate_interval", "30s").replaceAll("$job", ".+").replaceAll("$instance", ".+");
  const parameters = new URLSearchParams({ query, start: from / 1000, end: to / 1000, step: "5" });
  const answer = await (await fetch(`${prometheus}/api/v1/query_range?${parameters}`)).json();
  if (answer.status !== "success") throw new Error(`${query}: ${answer.error}`);
  answers[target.expr] = answer.data.result;
}

const directory = mkdtempSync(join(tmpdir(), "dashboard-"));
const script = join(directory, "picture.js");
await build({
  entryPoints: [new URL("picture.jsx", import.meta.url).pathname],
  bundle: true,
  outfile: script,
  jsx: "automatic",
  define: { "process.env.NODE_ENV": '"production"', global: "window" },
  loader: { ".svg": "dataurl", ".woff2": "dataurl", ".woff": "dataurl", ".ttf": "dataurl" },
  logLevel: "error",
});
const picture = JSON.stringify({ dashboard, answers, from, to }).replaceAll("<", "\\u003c");
const page = join(directory, "picture.html");
writeFileSync(page, `<!doctype html><meta charset="utf-8"><title>${dashboard.title}</title><link rel="stylesheet" href="picture.css"><div id="dashboard"></div>
<script>window.picture = ${picture}</script><script src="picture.js"></script>`);
const rows = Math.max(...dashboard.panels.map(({ gridPos }) => gridPos.y + gridPos.h));
execFileSync("chromium", [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars",
  `--user-data-dir=${join(directory, "chromium")}`, "--virtual-time-budget=20000", "--allow-file-access-from-files",
  `--window-size=1448,${rows * 30 + 8}`, `--screenshot=${file}`, `file://${page}`,
], { stdio: ["ignore", "ignore", "ignore"] });
rmSync(directory, { recursive: true });
