// The servers behind a gateway, or the models of a lone server, with their load.

import { bar, byId, count, keep, make, many, say, time } from "./dom.js";

const TONE = { ready: "good", suspect: "warn", ejected: "bad", away: "bad" };

function pair(list, word, value) {
  list.append(make("dt", {}, word), make("dd", {}, value));
}

function busy(load) {
  const share = Math.min(Math.max(load.busy, 0), 1);
  return make("span.busy", {}, bar(share), `${Math.round(share * 100)} %`);
}

function loads(list, load, a, b, samples) {
  if (load) {
    pair(list, "busy", busy(load));
    pair(list, "wait in the queue", time(load.queue_wait_ms));
    pair(list, "tokens queued, running", `${count(load.queued_tokens)}, ${count(load.running_tokens)}`);
    pair(list, "tokens a second", `${count(load.served_tokens_per_second)} of ${count(load.rate_tokens_per_second)}`);
  } else {
    pair(list, "load", "not told");
  }
  if (samples) pair(list, "cost of a batch", `${time(a)} + ${b.toFixed(1)} µs a token`);
}

function server(child, s) {
  const list = make("dl");
  pair(list, "tokens in flight", count(s.in_flight_tokens));
  pair(list, "connections", count(s.connections));
  const parts = [list];
  for (const m of s.models) {
    const more = make("dl");
    loads(more, m.load, m.a_ms, m.b_us, m.samples);
    parts.push(make("h4", {}, m.name), more);
  }
  child.replaceChildren(make("h3", {}, s.replica || s.address), " ", make(`span.pill.${TONE[s.state]}`, {}, s.state),
    s.replica ? make("p.quiet", {}, s.address) : "", ...parts);
}

function model(child, m) {
  const list = make("dl");
  loads(list, m.load, m.load.a_ms, m.load.b_us, m.load.b_us > 0);
  child.replaceChildren(make("h3", {}, m.name), list);
}

/** Shows them. */
export function showServers({ fleet, models }) {
  const rows = fleet ? fleet.servers : models;
  byId("servers").hidden = !rows.length;
  say(byId("servers-title"), fleet ? `${many(rows.length, "server")}` : "Load");
  keep(byId("servers-list"), rows, (row) => row.address ?? row.name, () => make("li"), fleet ? server : model);
}
