// The status page: asks for /status every second, works out what the page should be, and changes what differs.
//
// It only reads.  All text goes in as text, never as markup: reasons are what backends have sent.
"use strict";

const EVERY = 1000;          // ms from poll to poll
const EVERY_HIDDEN = 15000;  // when nobody looks
const SHARE_OF_TIME = 0.2;   // that polling may take, of the server's and of ours
const PATIENCE = 10000;      // ms for a reply
const MOST_POOLS = 200;      // drawn at once
const MOST_LINES = 50;       // of mistakes, and of alarms of a kind
const CHANGES = 20;
const REST = 3;              // every so many polls, probes and history too
const SAMPLES = 6;           // polls over which queries per second are taken
const SVG = "http://www.w3.org/2000/svg";

const page = {
  status: null,       // the last reply
  probes: new Map(),  // by owner and address
  changes: [],
  counts: [],         // [when, queries] of the last polls
  lost: null,         // Date since when polls fail
  why: "",
};

// Elements.  An attribute that is null or false is left out; a child that is null too.

function make(namespace, tag, attributes, children) {
  const node = namespace ? document.createElementNS(namespace, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

const h = (tag, attributes, ...children) => make(null, tag, attributes, children);
const s = (tag, attributes, ...children) => make(SVG, tag, attributes, children);

/** Make the children of `parent` like `wanted`, and leave alone what is so already: focus and selection stay. */
function fill(parent, wanted) {
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

function keyOf(node) {
  return node.nodeType === Node.ELEMENT_NODE ? node.getAttribute("data-key") : null;
}

// Words.

const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
const percent = (share) => (share === null ? "–" : `${Math.round(share * 100)} %`);
const short = (number) => number.toLocaleString("en", { notation: "compact", maximumFractionDigits: 1 });
const two = (number) => String(number).padStart(2, "0");

function age(seconds) {
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= 2 * size) return `${Math.floor(seconds / size)} ${unit}`;
  }
  return `${Math.max(0, Math.floor(seconds))} s`;
}

/** A Unix time as local time; with the date when it is not today's. */
function clock(unix, now) {
  const at = new Date(unix * 1000);
  const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  const isToday = at.toDateString() === new Date(now * 1000).toDateString();
  return isToday ? time : `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${time}`;
}

function when(unix, now) {
  return h("time", { datetime: new Date(unix * 1000).toISOString() }, clock(unix, now));
}

function milliseconds(seconds) {
  const ms = seconds * 1000;
  return ms >= 1000 ? `${seconds.toFixed(1)} s` : `${ms >= 10 ? Math.round(ms) : ms.toFixed(1)} ms`;
}

/** A word as the shell takes it. */
const quoted = (word) => (/^[\w.:-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`);

// What is the matter.

const isTroubled = (rrset) =>
  rrset.fails_open || rrset.backends.some((backend) => backend.up === false || backend.mode !== "ready");

function cards(status) {
  return status.pools.flatMap((pool) => pool.rrsets.map((rrset) => ({ owner: pool.owner, rrset })));
}

function alarms() {
  const found = [];
  const { status, lost } = page;
  if (lost !== null) {
    const at = clock(lost / 1000, Date.now() / 1000);
    const note = status === null ? "" : `What you see is as of ${clock(status.now, Date.now() / 1000)}. `;
    found.push(alarm("lost", `No connection since ${at}: ${page.why}`, [`${note}Trying again.`]));
  }
  if (status === null) return found;
  const { refused } = status;
  if (refused !== null) {
    const what = refused.until === null ? "Reload refused at" : "Edit held since";
    const title = `${what} ${clock(refused.at, status.now)}: ${refused.fact}`;
    const served = `The data of ${clock(status.loaded, status.now)} go on being served.`;
    const more = refused.until === null ? [] : [heldUntil(clock(refused.until, status.now))];
    found.push(alarm("refused", title, [served, ...more, lines(refused.problems)]));
  }
  const open = cards(status).filter(({ rrset }) => rrset.fails_open).map(title);
  if (open.length > 0) {
    found.push(alarm("open", `Failing open: none is up, all are handed out`, [lines(open)]));
  }
  const empty = cards(status).filter(({ rrset }) => rrset.empty).map(title);
  if (empty.length > 0) {
    found.push(alarm("empty", `No address left: answered with NODATA`, [lines(empty)]));
  }
  if (status.restart.length > 0) {
    found.push(notice("restart", `Restart needed for what the files say of: ${status.restart.join(", ")}`, []));
  }
  return found;
}

const heldUntil = (at) => `It is taken at ${at} unless the files change; dnslb reload takes it now.`;
const title = ({ owner, rrset }) => `${owner} ${rrset.type}`;

const alarm = (key, text, more) => box("alarm", key, text, more);
const notice = (key, text, more) => box("alarm notice", key, text, more);

function box(kind, key, text, more) {
  const parts = more.map((part) => (typeof part === "string" ? h("p", null, part) : part));
  return h("div", { class: kind, "data-key": key }, h("p", { class: "title" }, icon("warning"), text), ...parts);
}

function lines(texts) {
  const items = texts.slice(0, MOST_LINES).map((text) => h("li", null, h("bdi", null, text)));
  if (texts.length > MOST_LINES) items.push(h("li", null, `and ${texts.length - MOST_LINES} more`));
  return h("ul", null, ...items);
}

// Drawings.

const CIRCLE = { cx: 8, cy: 8, r: 7 };
const ICONS = {
  up: () => [s("circle", { ...CIRCLE, class: "full" }), s("path", { d: "M4.5 8.5l2.5 2.5 4.5-5.5", class: "cut" })],
  down: () => [s("path", { d: "M5 1h6l4 4v6l-4 4H5l-4-4V5z", class: "full" }), s("path", { d: "M5.5 5.5l5 5m0-5l-5 5", class: "cut" })],
  unprobed: () => [s("circle", { ...CIRCLE, r: 6, class: "line", "stroke-dasharray": "2.4 2.3" })],
  ready: () => [s("path", { d: "M3 8h9M8.5 4.5L12 8l-3.5 3.5", class: "line" })],
  drain: () => [s("path", { d: "M8 2v8M4.5 7L8 10.5 11.5 7M3 14h10", class: "line" })],
  maint: () => [s("path", { d: "M5.5 3v10M10.5 3v10", class: "line thick" })],
  warning: () => [s("path", { d: "M8 1l7.5 14H.5z", class: "full" }), s("path", { d: "M8 6v4.5M8 12v1.5", class: "cut" })],
};

function icon(name) {
  return s("svg", { class: `icon ${name}`, viewBox: "0 0 16 16", "aria-hidden": "true" }, ...ICONS[name]());
}

function bar(kind, share) {
  const width = share === null ? 0 : Math.max(0, Math.min(100, share * 100));
  return s("svg", { class: `share ${kind}`, viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" },
    s("rect", { class: "track", width: 100, height: 6 }),
    s("rect", { class: "part", width, height: 6 }));
}

/** One bar a probe, oldest first: from below by the time it took, from above when it failed. */
function sparkline(probes, slowest) {
  const wide = 4, high = 28, number = probes.took.length;
  const marks = { passed: "", failed: "" };  // one path of each: an element a probe would take too long to draw
  probes.took.forEach((took, place) => {
    const passed = probes.passed[place];
    const tall = passed ? Math.max(2, (took / slowest) * high) : high * 0.6;
    const top = passed ? high - tall : 0;
    marks[passed ? "passed" : "failed"] += `M${place * wide} ${top.toFixed(1)}h${wide - 1}v${tall.toFixed(1)}h${1 - wide}z`;
  });
  const size = { viewBox: `0 0 ${Math.max(number, 15) * wide - 1} ${high}`, preserveAspectRatio: "none" };
  return s("svg", { class: "spark", role: "img", "aria-label": told(probes), ...size },
    ...Object.entries(marks).map(([kind, d]) => s("path", { class: kind, d })));
}

function told(probes) {
  const good = probes.took.filter((_, place) => probes.passed[place]);
  const failed = probes.took.length - good.length;
  const slowest = good.length > 0 ? `, slowest ${milliseconds(Math.max(...good))}` : "";
  return `the last ${count(probes.took.length, "probe")}: ${failed} failed${slowest}`;
}

// The parts of the page.

function serverView(status) {
  const { server } = status;
  const backends = cards(status).flatMap(({ rrset }) => rrset.backends);
  const probed = backends.filter((backend) => backend.up !== null);
  const up = probed.filter((backend) => backend.up).length;
  const facts = [
    ["Queries", rate(), ""],
    ["Backends up", probed.length > 0 ? `${up} of ${probed.length}` : "–", up < probed.length ? "bad" : ""],
    ["Zones", status.zones.length.toLocaleString("en"), ""],
    ["Generation", server.generation, ""],
    ["Workers", server.workers, ""],
    ["Restarts", server.restarts, ""],
    ["Running for", age(status.now - server.started), ""],
  ];
  return facts.map(([name, value, kind]) =>
    h("div", { "data-key": name, class: kind || null }, h("dt", null, name), h("dd", null, String(value))));
}

function rate() {
  const { counts } = page;
  const [[before, fewer], [now, more]] = [counts[0], counts[counts.length - 1]];
  if (more === 0 || now <= before) return "–";
  const perSecond = (more - fewer) / (now - before);
  return `${perSecond < 10 ? perSecond.toFixed(1) : Math.round(perSecond).toLocaleString("en")} /s`;
}

/** The cards, of which those that would look the same are not drawn again. */
function cardsView(shown, now) {
  const live = new Map(Array.from(document.getElementById("pools").children, (child) => [keyOf(child), child]));
  return shown.map(({ owner, rrset }) => {
    const id = `pool-${owner}-${rrset.type}`.replaceAll(/\s/g, "_");
    const probes = new Map(rrset.backends.map(({ address }) => [address, page.probes.get(`${owner} ${address}`)]));
    const times = rrset.backends.map(({ since, order, expires }) =>
      [age(now - since), order !== null && order.at > now, expires !== null && age(expires - now + 0.999)]);
    const drawnFrom = JSON.stringify([rrset, [...probes.values()], times, new Date(now * 1000).toDateString()]);
    const there = live.get(id);
    if (there !== undefined && there.drawnFrom === drawnFrom) return there;
    return Object.assign(cardView(id, owner, rrset, probes, now), { drawnFrom });
  });
}

function cardView(id, owner, rrset, probes, now) {
  const times = [...probes.values()].flatMap((one) => (one ? one.took.filter((_, place) => one.passed[place]) : []));
  const slowest = Math.max(0.001, ...times);
  const state = rrset.fails_open || rrset.empty ? "card alarmed" : "card";
  return h("article", { class: state, "data-key": id, "aria-labelledby": id },
    h("div", { class: "head" },
      h("h3", { id }, h("bdi", null, owner), " ", h("span", { class: "type" }, rrset.type)),
      h("p", { class: "ttl" }, h("b", null, `TTL ${rrset.ttl} s`), " ", h("span", { class: "why" }, rrset.why))),
    rrset.fails_open ? h("p", { class: "ribbon" }, icon("warning"), "Failing open: none is up, all are handed out") : null,
    rrset.empty ? h("p", { class: "ribbon" }, icon("warning"), "No address left: answered with NODATA") : null,
    h("table", { role: "table", "aria-labelledby": id },
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" },
        ...["Backend", "Verdict", "Leading answers", "Probes"].map((name) =>
          h("th", { scope: "col", role: "columnheader" }, name)))),
      h("tbody", { role: "rowgroup" },
        ...rrset.backends.map((backend) => backendView(backend, probes.get(backend.address), slowest, now)))),
    commandsView(rrset));
}

function backendView(backend, probes, slowest, now) {
  const state = backend.handed_out ? null : "out";
  return h("tr", { role: "row", "data-key": backend.address, class: state },
    h("th", { scope: "row", role: "rowheader" }, h("span", { class: "address" }, backend.address), " ",
      backend.backup ? h("span", { class: "tag" }, "backup") : null,
      backend.handed_out ? null : h("span", { class: "tag" }, "not handed out"),
      orderView(backend, now), cachesView(backend, now)),
    h("td", { role: "cell" }, ...verdictView(backend, now)),
    h("td", { role: "cell" }, shareView(backend)),
    h("td", { role: "cell" }, probesView(backend, probes, slowest)));
}

function verdictView(backend, now) {
  const name = { true: "up", false: "down", null: "unprobed" }[backend.up];
  const word = name === "unprobed" ? (backend.unsure ? "not judged" : "not probed") : name;
  const since = backend.since === null ? null
    : h("span", { class: "since", title: `since ${clock(backend.since, now)}` }, ` for ${age(now - backend.since)}`);
  return [
    h("span", { class: `verdict ${name}` }, icon(name), word), since,
    backend.streak > 0 ? h("span", { class: "note" }, `in doubt: ${count(backend.streak, "probe")} against it`) : null,
    backend.unsure || backend.reason ? h("bdi", { class: "reason" }, backend.unsure || backend.reason) : null,
  ];
}

function orderView(backend, now) {
  const { order } = backend;
  if (order === null) return null;
  const begins = order.at !== null && order.at > now ? [" at ", when(order.at, now)] : [];
  const ends = order.until === null ? [] : [" until ", when(order.until, now)];
  const by = order.by ? [" by ", h("bdi", null, order.by)] : [];
  const reason = order.reason ? h("bdi", { class: "reason" }, order.reason) : null;
  return h("span", { class: `order ${order.mode}` }, icon(order.mode), order.mode, ...begins, ...ends, ...by, reason);
}

/** The drain clock of what is not handed out. */
function cachesView({ expires }, now) {
  if (expires === null) return null;
  const text = expires > now ? [`last copy expires in ${age(expires - now + 0.999)}`] : ["clear since ", when(expires, now)];
  return h("span", { class: "note" }, ...text);
}

function shareView(backend) {
  const configured = backend.handed_out ? backend.share : null;
  const row = (kind, label, share) => [
    h("span", { class: "label" }, label), bar(kind, share), h("span", { class: "value" }, percent(share)),
  ];
  const led = backend.led > 0 ? ` · led ${short(backend.led)}` : "";
  return h("div", { class: "shares" },
    ...row("set", "set", configured), ...row("led", "led", backend.achieved),
    h("span", { class: "note" }, `weight ${backend.weight}${led}`));
}

function probesView(backend, probes, slowest) {
  if (!probes || probes.took.length === 0) return h("span", { class: "none" }, "–");
  const last = probes.took.length - 1;
  const failed = probes.passed.filter((passed) => !passed).length;
  const notes = [probes.passed[last] ? milliseconds(probes.took[last]) : null, failed > 0 ? `${failed} of ${last + 1} failed` : null];
  const note = notes.filter((each) => each !== null).join(" · ");
  return h("div", { class: "probes" }, sparkline(probes, slowest), h("span", { class: "note" }, note));
}

function commandsView(rrset) {
  const commands = rrset.backends.map(({ address, order, mode }) => {
    const name = order !== null && order.owner !== null ? `${quoted(order.owner)} ` : "";
    return mode === "ready" ? `dnslb drain ${address}` : `dnslb ready ${name}${address}`;
  });
  return h("details", null, h("summary", null, "Commands"),
    h("ul", null, ...commands.map((command) => h("li", null, h("code", null, command)))));
}

function poolsView(status) {
  const wanted = document.getElementById("filter").value.trim().toLowerCase();
  const only = document.getElementById("trouble").checked;
  const all = cards(status);
  const found = all.filter(({ owner, rrset }) =>
    (!only || isTroubled(rrset)) &&
    (owner.toLowerCase().includes(wanted) || rrset.backends.some(({ address }) => address.includes(wanted))));
  // What does not fit must not be what matters.
  const shown = found.length <= MOST_POOLS ? found
    : [...found].sort((one, other) => isTroubled(other.rrset) - isTroubled(one.rrset)).slice(0, MOST_POOLS);
  return { shown, text: shownText(all.length, found.length, shown.length) };
}

function shownText(all, found, shown) {
  if (all === 0) return "No pools: nothing is balanced here.";
  if (found === 0) return "None matches.";
  if (shown < found) return `${shown} of ${count(found, "RRset")} shown, trouble first: filter to see others.`;
  return found < all ? `${found} of ${count(all, "RRset")}` : count(all, "RRset");
}

function changesView(now) {
  if (page.changes.length === 0) return h("p", { class: "none" }, "None since the server started.");
  const rows = page.changes.slice(-CHANGES).reverse().map((change) => {
    const [word] = change.what.split(" ");
    const name = Object.hasOwn(ICONS, word) ? word : "unprobed";
    return h("li", { "data-key": `${change.at} ${change.owner} ${change.address} ${change.what}` },
      when(change.at, now),
      h("span", { class: `verdict ${name}` }, icon(name), change.what),
      h("span", { class: "address" }, change.address),
      h("bdi", { class: "owner" }, change.owner ?? (change.address ? "all names" : "the server")),
      h("bdi", { class: "reason" }, [change.reason, change.by ? `by ${change.by}` : ""].filter(Boolean).join(", ")));
  });
  return h("ol", { class: "changes", reversed: true }, ...rows);
}

function draw() {
  const found = alarms();
  const { status } = page;
  const put = (id, ...nodes) => fill(document.getElementById(id), nodes);
  put("alarms", ...found);
  const number = found.filter((each) => !each.classList.contains("notice")).length;
  document.title = `${number > 0 ? `▲ ${count(number, "alarm")} · ` : ""}dnslb ${location.hostname}`;
  document.body.classList.toggle("stale", page.lost !== null);
  put("link", document.createTextNode(page.lost !== null ? "✕ no connection" : status === null ? "connecting…" : "● live"));
  if (status === null) return;
  put("source", h("span", null, `${status.server.version} serves `), h("bdi", null, status.directory),
    h("span", null, ` as of ${clock(status.loaded, status.now)}`));
  put("server", ...serverView(status));
  const { shown, text } = poolsView(status);
  put("shown", document.createTextNode(text));
  put("pools", ...cardsView(shown, status.now));
  put("changes", changesView(status.now));
}

// Polling.

async function ask(target) {
  const until = Date.now() + PATIENCE;
  let reply;
  for (;;) {
    reply = await fetch(target, { signal: AbortSignal.timeout(until - Date.now()), cache: "no-store" });
    // A server that is busy for a moment says when to ask again.
    if (!reply.headers.has("Retry-After") || Date.now() + EVERY >= until) break;
    await new Promise((resolve) => { setTimeout(resolve, EVERY); });
  }
  const value = await reply.json();
  if (!reply.ok) throw new Error(`${value.error}; ${value.remedy}`);
  return value;
}

const verdicts = (status) =>
  status && cards(status).map(({ rrset }) => rrset.backends.map(({ up, mode }) => `${up} ${mode}`).join()).join();

async function poll(round) {
  try {
    const status = await ask("/status");
    if (round % REST === 0 || verdicts(status) !== verdicts(page.status)) {
      const [{ probes }, { changes }] = await Promise.all([ask("/probes"), ask("/history")]);
      page.probes = new Map(probes.map((one) => [`${one.owner} ${one.address}`, one]));
      page.changes = changes;
    }
    if (page.status !== null && page.status.server.version !== status.server.version) location.reload();
    const isSame = page.status !== null && page.status.server.started === status.server.started;
    page.counts = [...(isSame ? page.counts.slice(1 - SAMPLES) : []), [status.now, status.server.queries]];
    page.status = status;
    page.lost = null;
  } catch (error) {
    page.lost ??= Date.now();
    page.why = error.name === "TimeoutError" ? `no answer within ${PATIENCE / 1000} s`
      : error instanceof TypeError ? "nobody answers" : error.message;
  }
}

/** Wait; not to the end when the page comes into view. */
function pause(milliseconds) {
  return new Promise((resolve) => {
    const timer = setTimeout(done, milliseconds);
    function done() {
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", seen);
      resolve();
    }
    function seen() {
      if (!document.hidden) done();
    }
    document.addEventListener("visibilitychange", seen);
  });
}

async function run() {
  document.getElementById("filter").addEventListener("input", draw);
  document.getElementById("trouble").addEventListener("change", draw);
  for (let round = 0; ; round += 1) {
    const began = performance.now();
    await poll(round);
    draw();
    const took = performance.now() - began;
    await pause(document.hidden ? EVERY_HIDDEN : Math.max(EVERY - took, took / SHARE_OF_TIME - took));
  }
}

run().catch((error) => {
  document.getElementById("link").textContent = "✕ this page has failed: load it again";
  document.body.classList.add("stale");
  throw error;
});
