// The servers behind a gateway, or the models of a lone server, with their load.

import { bar, byId, count, keep, make, many, say, time } from "./dom.js";

const TONE = { ready: "good", suspect: "warn", ejected: "bad", away: "bad" };
const HEAD = ["Model", "Busy", "Wait", "Queue", "Tok/s"];

/** A row of what a model is doing. */
function row({ name, load }) {
  const cell = (...children) => make("td", {}, ...children);
  if (!load) return make("tr", {}, cell(name), make("td", { colSpan: 4 }, "has not said"));
  const share = Math.min(Math.max(load.busy, 0), 1);
  return make("tr", {}, make("td", { title: name }, name), cell(make("span.busy", {}, bar(share), `${Math.round(share * 100)} %`)),
    cell(time(load.queue_wait_ms)), cell(count(load.queued_tokens)), cell(count(load.served_tokens_per_second)));
}

function table(models, of) {
  const head = make("thead", {}, make("tr", {}, ...HEAD.map((word) => make("th", { scope: "col" }, word))));
  return make("div.scroll", { tabIndex: 0, role: "region", ariaLabel: `Load of ${of}` },
    make("table", {}, head, make("tbody", {}, ...models.map(row))));
}

function server(child, s) {
  const name = s.replica || s.address;
  const about = [s.replica ? s.address : "", `${count(s.in_flight_tokens)} tokens in flight`, many(s.connections, "connection")];
  const parts = [make("h3", {}, name), " ", make(`span.pill.${TONE[s.state]}`, {}, s.state),
    make("p.quiet", {}, about.filter(Boolean).join(" · "))];
  refresh(child, parts, s.models.length ? table(s.models, name) : null);
}

function own(child, { models, program }) {
  refresh(child, [], table(models, program));
}

/** Puts what is new in place; a table that has the focus keeps its frame. */
function refresh(child, parts, loads) {
  const frame = child.querySelector(".scroll");
  if (frame && loads) {
    frame.replaceChildren(...loads.childNodes);
    while (child.firstChild !== frame) child.firstChild.remove();
    frame.before(...parts);
  } else {
    child.replaceChildren(...parts, ...(loads ? [loads] : []));
  }
}

/** Shows them. */
export function showServers(state) {
  const { fleet, models } = state;
  byId("servers").hidden = fleet ? !fleet.servers.length : !models.length;
  say(byId("servers-title"), fleet ? many(fleet.servers.length, "server") : "Load");
  const rows = fleet ? fleet.servers : [state];
  keep(byId("servers-list"), rows, (row) => row.address ?? "own", () => make("li"), fleet ? server : own);
}
