// The last jobs, each on a time line of its own: which server had which chunk, when, and where its time went.

import { ago, byId, count, keep, make, many, say, time } from "./dom.js";

const LEGEND = [["wire", "on the way"], ["tokenize", "tokenizing"], ["queue", "in the queue"], ["compute", "computing"],
  ["hedge", "hedge"], ["lost", "given up or failed"]];
/** Pixels of one bar with its gap, where several lie in a row. */
const LANE = 18;

let paused = false;
let names = new Map();

/** Parts of an attempt in order, in milliseconds. Tokenizing, waiting and computing may overlap; together they fill the time at
 * the server, and what is left is the way there and back. */
function parts(attempt) {
  const { took_ms, at_server_ms, tokenize_ms, queue_ms, compute_ms } = attempt;
  const way = Math.max(took_ms - at_server_ms, 0);
  const inside = tokenize_ms + queue_ms + compute_ms;
  const scale = inside > at_server_ms && inside > 0 ? at_server_ms / inside : 1;
  const rest = Math.max(at_server_ms - inside, 0);
  return [["wire", way / 2], ["tokenize", tokenize_ms * scale], ["queue", queue_ms * scale], ["compute", compute_ms * scale], ["wire", rest + way / 2]];
}

/** The lane of each attempt within its server's row: those that overlap lie below one another. */
function lanes(attempts) {
  const ends = [];
  return attempts.map((a) => {
    let lane = ends.findIndex((end) => end <= a.began_ms);
    if (lane < 0) lane = ends.length;
    ends[lane] = a.began_ms + a.took_ms;
    return lane;
  });
}

function outcome(attempt) {
  if (attempt.outcome === "ok") return attempt.hedge ? "hedge, first" : "ok";
  return `${attempt.hedge ? "hedge, " : ""}${attempt.outcome.replaceAll("_", " ").toLowerCase()}`;
}

function bar(attempt, whole, lane) {
  const lost = attempt.outcome !== "ok";
  const span = make(`span.span${attempt.hedge ? ".hedge" : ""}${lost ? ".lost" : ""}`, {
    title: `${many(attempt.items, "item")}, ${count(attempt.tokens)} tokens: ${outcome(attempt)}, ${time(attempt.took_ms)} (queue ${time(attempt.queue_ms)}, compute ${time(attempt.compute_ms)})`,
  });
  span.style.left = `${(100 * attempt.began_ms) / whole}%`;
  span.style.width = `${(100 * attempt.took_ms) / whole}%`;
  span.style.top = `${2 + lane * LANE}px`;
  if (!lost) {
    for (const [kind, ms] of parts(attempt)) {
      const part = make(`span.${kind}`);
      part.style.flexGrow = String(ms);
      span.append(part);
    }
  }
  return span;
}

const nameOf = (server) => names.get(server) ?? server;

function gantt(job) {
  const rows = Map.groupBy(job.attempts, (attempt) => attempt.server);
  const told = [...rows].map(([server, own]) =>
    `${nameOf(server)}: ${own.map((a) => `${time(a.began_ms)} to ${time(a.began_ms + a.took_ms)}, ${outcome(a)}`).join("; ")}`);
  const box = make("div.gantt", { role: "img", ariaLabel: `Time line of ${time(job.took_ms)}. ${told.join(". ")}` });
  for (const [server, own] of rows) {
    const at = lanes(own);
    const track = make("div.track");
    track.style.height = `${LANE * Math.max(...at.map((lane) => lane + 1))}px`;
    track.append(...own.map((attempt, n) => bar(attempt, job.took_ms, at[n])));
    box.append(make("span.name", { title: server }, nameOf(server)), track);
  }
  return box;
}

function table(job) {
  const head = ["Server", "Items", "Tokens", "Attempt", "Began", "Took", "Tokenize", "Queue", "Compute", "Outcome"];
  const cells = (a) => [nameOf(a.server), count(a.items), count(a.tokens), a.attempt, time(a.began_ms), time(a.took_ms),
    ...(a.outcome === "ok" ? [time(a.tokenize_ms), time(a.queue_ms), time(a.compute_ms)] : ["–", "–", "–"]), outcome(a)];
  const rows = job.attempts.map((a) => make("tr", {}, ...cells(a).map((cell) => make("td", {}, String(cell)))));
  const scroll = make("div.scroll", { tabIndex: 0, role: "region", ariaLabel: `Chunks of job ${job.number}` },
    make("table", {}, make("thead", {}, make("tr", {}, ...head.map((word) => make("th", { scope: "col" }, word)))), make("tbody", {}, ...rows)));
  const left = job.attempts_left_out ? make("p.quiet", {}, `${many(job.attempts_left_out, "attempt")} more`) : "";
  return make("details", {}, make("summary", {}, many(job.attempts.length + job.attempts_left_out, "attempt")), scroll, left);
}

function build(job) {
  const hedges = job.attempts.filter((a) => a.hedge).length;
  const servers = new Set(job.attempts.map((a) => a.server)).size;
  const facts = [job.model, many(job.items, "item"), `${count(job.tokens)} tokens`,
    servers > 1 ? many(servers, "server") : "", hedges ? many(hedges, "hedge") : ""].filter(Boolean).join(" · ");
  const head = make("header", {}, make("h3", {}, job.rpc), make("span.num", {}, time(job.took_ms)),
    job.code === "OK" ? "" : make("span.pill.bad", {}, job.code.toLowerCase().replaceAll("_", " ")),
    make("span.quiet", {}, facts), make("span.quiet.push.ago", {}));
  return make("li", {}, head, ...(job.attempts.length ? [gantt(job), table(job)] : []));
}

/** Shows them, the newest first. */
export function showJobs(state) {
  names = new Map((state.fleet?.servers ?? []).filter((s) => s.replica).map((s) => [s.address, s.replica]));
  byId("jobs").hidden = false;
  byId("jobs-none").hidden = state.jobs.length > 0;
  if (!byId("jobs-legend").children.length) {
    byId("jobs-legend").append(...LEGEND.map(([kind, word]) => make("li", {}, make(`i.${kind}`), word)));
    byId("jobs-pause").addEventListener("click", () => {
      paused = !paused;
      byId("jobs-pause").setAttribute("aria-pressed", String(paused));
      say(byId("jobs-pause"), paused ? "Go on" : "Pause");
    });
  }
  if (paused) return;
  keep(byId("jobs-list"), state.jobs, (job) => job.number, build,
    (child, job) => say(child.querySelector(".ago"), ago(job.age_ms)));
}
