// Elements of the page, and the words on it.
//
// All text goes in as text, never as markup: reasons are what backends have sent.

const SVG = "http://www.w3.org/2000/svg";

// Elements.  An attribute that is null or false is left out; a child that is null too.

function make(namespace, tag, attributes, children) {
  const node = namespace ? document.createElementNS(namespace, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

export const h = (tag, attributes, ...children) => make(null, tag, attributes, children);
export const s = (tag, attributes, ...children) => make(SVG, tag, attributes, children);

/** Make the children of `parent` like `wanted`, and leave alone what is so already: focus and selection stay. */
export function fill(parent, wanted) {
  const keys = new Set(wanted.map(keyOf));
  for (const child of [...parent.children]) {
    if (!keys.has(keyOf(child))) child.remove();  // first: what stays need not be moved then, and keeps its focus
  }
  const known = new Map(Array.from(parent.children, (child) => [keyOf(child), child]));
  wanted.forEach((node, place) => {
    const there = parent.childNodes[place] ?? null;
    const key = keyOf(node);
    const live = key === null ? there : known.get(key) ?? null;
    if (live === null || live.nodeName !== node.nodeName || keyOf(live) !== key) {
      parent.insertBefore(node, there);
      return;
    }
    if (live !== there) parent.insertBefore(live, there);
    become(live, node);
  });
  while (parent.childNodes.length > wanted.length) parent.lastChild.remove();
}

function become(live, node) {
  if (live === node) return;
  live.drawnFrom = node.drawnFrom;
  if (live.isEqualNode(node)) return;  // most are, and the browser sees that faster than we
  if (live.nodeType === Node.TEXT_NODE) {
    if (live.data !== node.data) live.data = node.data;
    return;
  }
  for (const { name } of [...live.attributes]) {
    if (name !== "open" && !node.hasAttribute(name)) live.removeAttribute(name);  // what the reader opened stays open
  }
  for (const { name, value } of node.attributes) {
    if (live.getAttribute(name) !== value) live.setAttribute(name, value);
  }
  fill(live, [...node.childNodes]);
}

export function keyOf(node) {
  return node.nodeType === Node.ELEMENT_NODE ? node.getAttribute("data-key") : null;
}

// Words.

export const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
export const percent = (share) => (share === null ? "–" : `${Math.round(share * 100)} %`);
export const short = (number) => number.toLocaleString("en", { notation: "compact", maximumFractionDigits: 1 });
const two = (number) => String(number).padStart(2, "0");

export function age(seconds) {
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= 2 * size) return `${Math.floor(seconds / size)} ${unit}`;
  }
  return `${Math.max(0, Math.floor(seconds))} s`;
}

/** A Unix time as local time; with the date when it is not today's. */
export function clock(unix, now) {
  const at = new Date(unix * 1000);
  const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  const isToday = at.toDateString() === new Date(now * 1000).toDateString();
  return isToday ? time : `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${time}`;
}

export function when(unix, now) {
  return h("time", { datetime: new Date(unix * 1000).toISOString() }, clock(unix, now));
}

export function milliseconds(seconds) {
  const ms = seconds * 1000;
  return ms >= 1000 ? `${seconds.toFixed(1)} s` : `${ms >= 10 ? Math.round(ms) : ms.toFixed(1)} ms`;
}

/** A word as the shell takes it. */
export const quoted = (word) => (/^[\w.:-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`);
