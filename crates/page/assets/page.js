// Asks for the state once a second while the page is seen, and has each part show it.

import { byId, count, make, many, say, time } from "./dom.js";
import { showCost } from "./cost.js";
import { showJobs } from "./jobs.js";
import { showServers } from "./servers.js";
import { showTry } from "./try.js";

/** Milliseconds between two looks: what servers say of themselves is a second old anyway. */
const PERIOD = 1000;

/** Milliseconds that an answer may take before the page says that there is none. */
const PATIENCE = 5000;

function showHead(state) {
  say(byId("status"), state.status);
  byId("status").className = `pill ${state.ready ? "good" : "bad"}`;
  const minutes = Math.floor(state.uptime_s / 60);
  const up = minutes < 1 ? `${state.uptime_s} s` : minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h`;
  say(byId("uptime"), `up ${up} · ${many(state.jobs_total, "job")}`);
}

function showModels(models) {
  const list = byId("models");
  byId("no-models")?.toggleAttribute("hidden", models.length > 0);
  const facts = (m) =>
    [
      `${m.task} · up to ${m.max_length} tokens`,
      m.dimensions > 0 ? `${m.dimensions} dimensions` : "",
      m.labels > 1 ? `${m.labels} labels` : "",
      m.labels_in_request ? "labels of the request" : "",
      m.experimental ? "experimental" : "",
    ].filter(Boolean).join(", ");
  const rows = models.map((m) =>
    make("li", {}, make("h3", {}, m.name), " ", make(`span.pill.${m.load.state === "ready" ? "good" : "bad"}`, {}, m.load.state),
      make("p", {}, facts(m)), make("p.quiet", {}, [m.device, m.precision, m.engine].filter(Boolean).join(" · "))));
  const text = (rows) => [...rows].map((row) => row.textContent.replace(/\s+/g, "")).join("|");
  if (text(rows) !== text(list.children)) list.replaceChildren(...rows);
}

function showTimes(state) {
  const { times, fleet } = state;
  byId("times").hidden = !times.length && !fleet;
  byId("times-tiles").replaceChildren(...times.map((t) =>
    make("div.tile", {}, make("span.quiet", {}, t.rpc),
      make("b", {}, time(t.p50_ms), make("small", {}, " p50")), make("b", {}, time(t.p99_ms), make("small", {}, " p99")),
      make("span.quiet", {}, `${many(t.jobs, "job")}, ${t.jobs_per_second.toFixed(1)} a second, ${many(Math.round(t.tokens_per_second), "token")} a second`))));
  const told = fleet
    ? `Since the start: ${many(fleet.chunks, "chunk")}, ${many(fleet.hedges, "hedge")} (${count(fleet.hedges_won)} won), ` +
      `${count(fleet.retries)} retried. Budgets: ${count(fleet.hedge_budget_tokens)} tokens to hedge, ${count(fleet.retry_budget_tokens)} to retry.`
    : "";
  say(byId("times-fleet"), times.length ? told : `No job has ended in the last five minutes. ${told}`.trim());
  if (fleet) say(byId("servers-count"), `Behind this gateway: ${many(fleet.servers.length, "server")}.`);
}

function show(state) {
  showHead(state);
  showModels(state.models);
  showTry(state.models, look);
  showTimes(state);
  showServers(state);
  showCost(state);
  showJobs(state);
}

let timer;

async function look() {
  clearTimeout(timer);
  if (document.visibilityState !== "visible") return;
  try {
    const answer = await fetch("page/state.json", { signal: AbortSignal.timeout(PATIENCE), cache: "no-store" });
    if (!answer.ok) throw new Error(`answered ${answer.status}`);
    show(await answer.json());
  } catch (error) {
    say(byId("status"), error instanceof TypeError || error.name === "TimeoutError" ? "no answer" : error.message);
    byId("status").className = "pill bad";
  }
  clearTimeout(timer);
  timer = setTimeout(look, PERIOD);
}

document.addEventListener("visibilitychange", look);
look();
