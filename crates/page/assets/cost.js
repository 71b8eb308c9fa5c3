// What a batch costs by its tokens, a line a server (or a model of a lone server).

import { byId, draw, make, say, time } from "./dom.js";

const HEIGHT = 220;
const LEFT = 56;
const BOTTOM = 28;
const TOP = 10;
/** Lines that have a colour of their own. */
const COLOURS = 8;

let last = "";
let chosen = "";

/** Lines of a model: name, fixed cost in milliseconds, cost of a token in microseconds, and the place that gives the colour. */
function linesOf(state, model) {
  if (!state.fleet) return state.models.map((m, n) => [m.name, m.load.a_ms, m.load.b_us, n]).filter(([, , b]) => b > 0);
  return state.fleet.servers.flatMap((s, n) =>
    s.models.filter((m) => m.name === model && m.samples > 0).map((m) => [s.replica || s.address, m.a_ms, m.b_us, n]));
}

/** A round number no less than `value`. */
function round(value) {
  const unit = 10 ** Math.floor(Math.log10(Math.max(value, 1e-3)));
  return [1, 2, 2.5, 5, 10].map((step) => step * unit).find((step) => step >= value);
}

function chart(lines, tokens, width) {
  const top = round(Math.max(...lines.map(([, a, b]) => a + (b * tokens) / 1000)));
  const x = (t) => LEFT + ((width - LEFT) * t) / tokens;
  const y = (ms) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - ms / top);
  const label = lines.map(([name, a, b]) => `${name}: ${time(a)} and ${b.toFixed(1)} microseconds a token`).join("; ");
  const svg = draw("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": `Cost of a batch. ${label}` });
  for (const part of [0, 0.5, 1]) {
    svg.append(draw("line", { class: "grid", x1: LEFT, x2: width, y1: y(top * part), y2: y(top * part) }),
      draw("text", { x: LEFT - 8, y: y(top * part) + 4, "text-anchor": "end" }, part ? time(top * part) : "0"),
      draw("text", { x: x(tokens * part), y: HEIGHT - 6, "text-anchor": part === 1 ? "end" : part ? "middle" : "start" },
        part ? Math.round(tokens * part).toLocaleString("en") + (part === 1 ? " tokens" : "") : "0"));
  }
  lines.forEach(([, a, b, n]) => {
    svg.append(draw("line", { class: `costline s${n % COLOURS}`, x1: x(0), x2: x(tokens), y1: y(a), y2: y(a + (b * tokens) / 1000),
      ...(n >= COLOURS ? { "stroke-dasharray": "6 6" } : {}) }));
  });
  return svg;
}

/** Shows the lines that are known. */
export function showCost(state) {
  const names = state.fleet ? state.models.map((m) => m.name).filter((name) => linesOf(state, name).length) : [];
  if (state.fleet && !names.includes(chosen)) chosen = names[0] ?? "";
  const lines = linesOf(state, chosen);
  byId("cost").hidden = !lines.length;
  byId("cost-model-field").hidden = names.length < 2;
  const select = byId("cost-model");
  if ([...select.options].map((option) => option.value).join() !== names.join()) {
    select.replaceChildren(...names.map((name) => make("option", { value: name, selected: name === chosen }, name)));
    select.onchange = () => {
      chosen = select.value;
      showCost(state);
    };
  }
  const of = state.models.filter((m) => !state.fleet || m.name === chosen);
  const tokens = Math.max(...of.map((m) => m.load.max_batch_tokens), 512);
  // As wide as its place, so that its words are as large as all others.
  const width = Math.max(byId("cost-chart").clientWidth, 240);
  const now = JSON.stringify([lines.map(([name, a, b, n]) => [name, a.toPrecision(3), b.toPrecision(3), n]), tokens, width]);
  if (!lines.length || now === last) return;
  last = now;
  byId("cost-chart").replaceChildren(chart(lines, tokens, width));
  const legend = ([name, a, b, n]) => make("li", {}, make(`i.s${n % COLOURS}`), `${name}: ${time(a)} + ${b.toFixed(1)} µs a token`);
  byId("cost-legend").replaceChildren(...lines.map(legend));
}
