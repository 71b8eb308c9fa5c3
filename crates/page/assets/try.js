// Trying a model: a form, one request by a dialect that the port serves, and the answer.

import { bar, byId, count, make, many, time } from "./dom.js";

const EXAMPLE_QUERY = "how do I read command line arguments?";
const EXAMPLE_LINES = [
  "A parser for flags, options and subcommands of terminal programs.",
  "Turns structures into JSON and back.",
  "An asynchronous runtime with timers, sockets and tasks.",
  "Reads environment variables and arguments that a process was started with.",
  "Colours and styles for text in a terminal.",
].join("\n");
const EXAMPLE_NAMES = "Ada wrote the first program in London.\nThe parcel for Oslo left the port of Hamburg on Friday.";
const EXAMPLE_LABELS = "person, city, day of the week";

/** What stands between commas. */
const listed = (text) => text.split(",").map((part) => part.trim()).filter(Boolean);

/** What can be tried: which models can, what is asked for, where, and how the answer is shown. */
const TASKS = {
  rerank: {
    title: "Rerank", first: "Query", lines: "Documents, one a line", examples: [EXAMPLE_QUERY, EXAMPLE_LINES],
    can: (m) => m.rpcs.includes("Rerank"),
    path: "rerank", body: (model, first, lines) => ({ model, query: first, texts: lines }),
    show: (answer, lines) => ranking(answer.map((rank) => [rank.score, lines[rank.index]])),
  },
  similarity: {
    title: "Similarity", first: "Text", lines: "Texts to compare with it, one a line", examples: [EXAMPLE_QUERY, EXAMPLE_LINES],
    can: (m) => m.rpcs.includes("Similarity"),
    path: "similarity", body: (model, first, lines) => ({ model, inputs: { source_sentence: first, sentences: lines } }),
    show: (answer, lines) => ranking(answer.map((score, n) => [score, lines[n]]).sort((a, b) => b[0] - a[0])),
  },
  classify: {
    title: "Classify", lines: "Texts, one a line", examples: ["", EXAMPLE_LINES],
    can: (m) => m.task === "classifier",
    path: "predict", body: (model, _, lines) => ({ model, inputs: lines.map((line) => [line]) }),
    show: (answer, lines) => answer.map((labels, n) =>
      make("div", {}, make("h3", {}, lines[n]), ranking(labels.slice(0, 8).map((label) => [label.score, label.label])))),
  },
  tag: {
    title: "Tag", lines: "Texts, one a line", examples: ["", EXAMPLE_NAMES],
    can: (m) => m.rpcs.includes("TagTokens") && !m.labels_in_request,
    path: "tag", body: (model, _, lines) => ({ model, inputs: lines }),
    show: (answer, lines) => answer.map((spans, n) => marked([...lines[n]], spans)),
  },
  find: {
    title: "Find", first: "What to find, with commas between", lines: "Texts, one a line", examples: [EXAMPLE_LABELS, EXAMPLE_NAMES],
    can: (m) => m.rpcs.includes("TagTokens") && m.labels_in_request,
    path: "tag", body: (model, first, lines) => ({ model, inputs: lines, parameters: { labels: listed(first) } }),
    show: (answer, lines) => answer.map((spans, n) => marked([...lines[n]], spans)),
  },
};

let task = "";
let known = "";
let underWay = null;
let ended = () => {};

/** An ordered list of texts with their scores. */
function ranking(rows) {
  const most = Math.max(...rows.map(([score]) => Math.abs(score)), 1);
  return make("ol.ranked", {}, ...rows.map(([score, text], place) =>
    make("li", {}, make("span.quiet.num", {}, `${place + 1}.`), make("span.text", {}, text),
      make("span.num", {}, score.toFixed(4)), bar(score / most))));
}

/** A text with what was found in it; places are counted in characters. */
function marked(characters, spans) {
  const parts = [];
  let at = 0;
  for (const span of spans) {
    parts.push(characters.slice(at, span.start).join(""));
    parts.push(make("mark", {}, characters.slice(span.start, span.end).join(""), " ",
      make("small", {}, `${span.entity_group} ${span.score.toFixed(2)}`)));
    at = span.end;
  }
  parts.push(characters.slice(at).join(""));
  return make("p.tagged", {}, ...parts, spans.length ? "" : make("span.quiet", {}, " – nothing was found"));
}

function choose(name) {
  const before = TASKS[task];
  const untouched = (id, place) => !byId(id).value || byId(id).value === before?.examples[place];
  const now = TASKS[name];
  if (untouched("try-first", 0) && now.first) byId("try-first").value = now.examples[0];
  if (untouched("try-lines", 1)) byId("try-lines").value = now.examples[1];
  task = name;
  byId("try-first-field").hidden = !now.first;
  byId("try-first-label").textContent = now.first ?? "";
  byId("try-lines-label").textContent = now.lines;
  byId("try-run").textContent = now.title;
  byId("try-answer").replaceChildren();
}

function fillModels(models) {
  const able = models.filter(TASKS[task].can);
  const made = { rerank: "reranker", similarity: "embeddings" }[task];
  // Models that were made for it come first.
  able.sort((a, b) => (b.task === made) - (a.task === made));
  byId("try-model").replaceChildren(...able.map((m) => make("option", { value: m.name }, m.name)));
}

async function run(event) {
  event?.preventDefault();
  const lines = byId("try-lines").value.split("\n").map((line) => line.trim()).filter(Boolean);
  const first = byId("try-first").value.trim();
  const place = byId("try-answer");
  const now = TASKS[task];
  const empty = now.first && !first ? byId("try-first") : lines.length ? null : byId("try-lines");
  if (empty) {
    empty.focus();
    place.replaceChildren(make("p.fault", { role: "alert" }, "Write something in the field that has the focus."));
    return;
  }
  underWay?.abort();
  const call = (underWay = new AbortController());
  byId("try-run").disabled = true;
  const begun = performance.now();
  try {
    const answer = await fetch(now.path, {
      method: "POST", signal: call.signal, headers: { "content-type": "application/json" },
      body: JSON.stringify(now.body(byId("try-model").value, first, lines)),
    });
    const took = performance.now() - begun;
    const body = await answer.json().catch(() => null);
    if (!answer.ok) throw new Error(body?.message ?? body?.error?.message ?? body?.error ?? `it answered ${answer.status}`);
    const shown = now.show(body, lines);
    place.replaceChildren(make("p.quiet", {}, facts(answer, took, lines.length)), ...(Array.isArray(shown) ? shown : [shown]));
  } catch (error) {
    if (error.name === "AbortError") return;
    const message = error instanceof TypeError ? "there was no answer" : error.message;
    place.replaceChildren(make("p.fault", { role: "alert" }, String(message)));
  } finally {
    if (underWay === call) byId("try-run").disabled = false;
    ended();
  }
}

/** What the answer took, as its headers have it. */
function facts(answer, took, items) {
  const timing = answer.headers.get("server-timing") ?? "";
  const part = (name) => Number(timing.match(new RegExp(`${name};dur=([0-9.]+)`))?.[1] ?? NaN);
  const tokens = Number(answer.headers.get("x-compute-tokens") ?? NaN);
  const cut = Number(answer.headers.get("x-sortie-truncated-count") ?? 0);
  return [
    many(items, "text"),
    tokens > 0 ? `${count(tokens)} tokens` : "",
    `${time(took)} in all`,
    timing ? `waited ${time(part("queue"))}, computed ${time(part("compute"))}` : "",
    cut ? `${count(cut)} cut to fit` : "",
  ].filter(Boolean).join(" · ");
}

/** Shows what can be tried with these models; `look` is called when a try has ended. */
export function showTry(models, look) {
  const form = byId("try-form");
  if (!form) return;
  ended = look;
  const names = JSON.stringify(models.map(({ name, task, rpcs, labels_in_request }) => ({ name, task, rpcs, labels_in_request })));
  if (names === known) return;
  if (!known) {
    form.addEventListener("submit", run);
    form.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) run(event);
    });
    byId("try-tasks").addEventListener("change", (event) => {
      choose(event.target.value);
      fillModels(JSON.parse(known));
    });
  }
  known = names;
  const able = Object.keys(TASKS).filter((name) => models.some(TASKS[name].can));
  byId("try").hidden = !able.length;
  if (!able.length) return;
  if (!able.includes(task)) choose(able[0]);
  for (const old of byId("try-tasks").querySelectorAll("label")) old.remove();
  byId("try-tasks").append(...able.map((name) =>
    make("label", {}, make("input", { type: "radio", name: "task", value: name, checked: name === task }),
      make("span", {}, TASKS[name].title))));
  fillModels(models);
}
