// Elements, numbers and words. Text becomes text nodes, never markup: the page's policy knows no other way either.

const SVG = "http://www.w3.org/2000/svg";

/** The element with that id. */
export const byId = (id) => document.getElementById(id);

/** An element: its name with classes (`li.row`), its properties, its children. */
export function make(name, properties = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(properties)) {
    if (key in element) element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null && child !== ""));
  return element;
}

/** An element of a drawing. */
export function draw(name, attributes = {}, text = "") {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text) element.textContent = text;
  return element;
}

/** Sets text only where it changed, so that nothing is read aloud twice. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Puts rows in the place of others where one of them changed; what is focused and open stays. */
export function keep(list, rows, key, build, update) {
  const there = new Map([...list.children].map((child) => [child.dataset.key, child]));
  rows.forEach((row, place) => {
    const name = String(key(row));
    let child = there.get(name);
    if (!child) {
      child = build(row);
      child.dataset.key = name;
    }
    there.delete(name);
    if (list.children[place] !== child) list.insertBefore(child, list.children[place] ?? null);
    update(child, row);
  });
  for (const gone of there.values()) gone.remove();
}

/** A bar that is filled to a share of its width. */
export function bar(share) {
  const fill = make("span");
  fill.style.width = `${Math.round(1000 * Math.min(Math.max(share, 0), 1)) / 10}%`;
  return make("span.bar", { ariaHidden: "true" }, fill);
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

/** A count: 1,234; 1.2M. */
export const count = (n) => (n < 100_000 ? whole.format(n) : short.format(n));

/** Milliseconds as they are read: 0.42 ms, 12.3 ms, 1.2 s. */
export function time(ms) {
  if (!Number.isFinite(ms)) return "–";
  if (ms === 0) return "0 ms";
  if (ms >= 1000) return `${(ms / 1000).toFixed(ms >= 10_000 ? 0 : 1)} s`;
  return `${ms >= 100 ? ms.toFixed(0) : ms >= 1 ? ms.toFixed(1) : ms.toFixed(2)} ms`;
}

/** How long ago, roughly. */
export function ago(ms) {
  const seconds = Math.round(ms / 1000);
  if (seconds < 2) return "just now";
  if (seconds < 120) return `${seconds} s ago`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min ago` : `${Math.round(seconds / 3600)} h ago`;
}

/** `3 chunks`, `1 chunk`. */
export const many = (n, word) => `${count(n)} ${word}${n === 1 ? "" : "s"}`;
