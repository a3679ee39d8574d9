// The status page: asks for /status every second, works out what the page should be, and changes what differs.
//
// It only reads; orders are given by the script next door.

import { age, clock, count, fill, h, keyOf, milliseconds, percent, quoted, short, when } from "/elements.js";
import { bar, icon, ICONS, ledGraph, sparkline, stepGraph, swatch } from "/graphs.js";
import { begin, credentials, forget, givenView, mayOrder } from "/orders.js";

const EVERY = 1000;          // ms from poll to poll
const EVERY_HIDDEN = 15000;  // when nobody looks
const SHARE_OF_TIME = 0.2;   // that polling may take, of the server's and of ours
const PATIENCE = 10000;      // ms for a reply
const SILENCE = 1500;        // ms without one until the reader is told, unless replies always take long
const LOOK = 250;            // ms from one look at that to the next
const MOST_POOLS = 200;      // drawn at once
const MOST_LINES = 50;       // of mistakes, and of alarms of a kind
const CHANGES = 20;
const CHANGES_FOUND = 100;   // when they are filtered
const MOST_ZONES = 30;
const HOUR = 360;            // samples
const HOURS_AT_ONCE = 100;   // RRsets of which the last hour is asked for with each sample
const REST = 3;              // every so many polls, probes and history too
const SAMPLES = 6;           // polls over which queries per second are taken

const page = {
  status: null,       // the last reply
  probes: new Map(),  // by owner and address
  changes: [],
  hour: null,         // the last timeline
  lines: new Map(),   // of its RRsets, by owner and type
  asking: null,       // performance.now() when the request under way was sent
  took: 1000,         // ms of the last poll; the first may take longer
  counts: [],         // [when, queries] of the last polls
  lost: null,         // Date since when polls fail
  why: "",
};

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
    found.push(alarm("open", `Failing open: none or too few are up, all are handed out`, [lines(open)]));
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

// The parts of the page.

function serverView(status) {
  const { server } = status;
  const backends = cards(status).flatMap(({ rrset }) => rrset.backends);
  const probed = backends.filter((backend) => backend.up !== null);
  const up = probed.filter((backend) => backend.up).length;
  const facts = [
    ["Queries", rate(), ""],
    ...(server.held > 0 ? [["Held up", server.held.toLocaleString("en"), ""]] : []),
    ["Backends up", probed.length > 0 ? `${up} of ${probed.length}` : "–", up < probed.length ? "bad" : ""],
    ["Zones", status.zones.length.toLocaleString("en"), ""],
    ["Generation", server.generation, ""],
    ["Workers", server.workers, ""],
    ["Restarts", server.restarts, ""],
    ["Running for", age(status.now - server.started), ""],
  ];
  if (server.recorded + server.unrecorded > 0) {
    const dropped = server.unrecorded > 0 ? `, ${short(server.unrecorded)} dropped` : "";
    facts.push(["Query records", `${short(server.recorded)}${dropped}`, dropped ? "bad" : ""]);
  }
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
    const hour = page.lines.get(`${owner} ${rrset.type}`);
    const changed = rrset.changed === null ? null : age(now - rrset.changed);
    const drawnFrom = JSON.stringify(
      [rrset, [...probes.values()], times, hour, changed, mayOrder(), new Date(now * 1000).toDateString()]);
    const there = live.get(id);
    if (there !== undefined && there.drawnFrom === drawnFrom) return there;
    return Object.assign(cardView(id, owner, rrset, probes, now), { drawnFrom });
  });
}

function failingOpen(rrset) {
  const up = rrset.backends.filter((backend) => backend.handed_out && backend.up === true).length;
  const few = up === 0 ? "none is up" : `only ${up} of ${rrset.backends.length} up`;
  return `Failing open: ${few}, all are handed out`;
}

function cardView(id, owner, rrset, probes, now) {
  const times = [...probes.values()].flatMap((one) => (one ? one.took.filter((_, place) => one.passed[place]) : []));
  const slowest = Math.max(0.001, ...times);
  const state = rrset.fails_open || rrset.empty ? "card alarmed" : "card";
  return h("article", { class: state, "data-key": id, "aria-labelledby": id },
    h("div", { class: "head" },
      h("h3", { id }, h("a", { href: linkTo(owner) }, h("bdi", null, owner)), " ", h("span", { class: "type" }, rrset.type)),
      h("p", { class: "ttl" }, h("b", null, `TTL ${rrset.ttl} s`), " ", h("span", { class: "why" }, rrset.why))),
    rrset.fails_open ? h("p", { class: "ribbon" }, icon("warning"), failingOpen(rrset)) : null,
    rrset.empty ? h("p", { class: "ribbon" }, icon("warning"), "No address left: answered with NODATA") : null,
    rrset.hidden_load ? h("p", { class: "why" }, `Hidden load: ${rrset.hidden_load.told}`) : null,
    h("table", { role: "table", "aria-labelledby": id },
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" },
        ...["Backend", "Verdict", "Leading answers", "Probes"].map((name) =>
          h("th", { scope: "col", role: "columnheader" }, name)))),
      h("tbody", { role: "rowgroup" },
        ...rrset.backends.map((backend) => backendView(owner, backend, probes.get(backend.address), slowest, now)))),
    hourView(owner, rrset, now),
    mayOrder() && rrset.backends.length > 1 ? h("p", { class: "all" }, "All of it: ", ...["drain", "maint", "ready"].map((mode) =>
      orderButton(mode, owner, rrset.backends.map(({ address }) => address), `${mode} all of ${owner} ${rrset.type}`))) : null,
    commandsView(rrset));
}

function orderButton(mode, owner, addresses, label) {
  return h("button", { type: "button", "data-order": mode, "data-owner": owner, "data-addresses": addresses.join(" "), "aria-label": label }, mode);
}

/** What is handed out, and for how long, in the last hour. */
function hourView(owner, rrset, now) {
  const changed = rrset.changed === null ? "no change known" : `changed ${age(now - rrset.changed)} ago`;
  const hour = page.lines.get(`${owner} ${rrset.type}`);
  if (hour === undefined) return h("p", { class: "hours none" }, changed);
  const ttls = hour.ttl.map(([value]) => value), ups = hour.up.map(([value]) => value);
  const [ttl, up] = [ttls.at(-1) ?? 0, ups.at(-1) ?? 0];
  const answered = hour.led.some(({ answers }) => answers.some((each) => each > 0));
  const between = (values, unit) => `${Math.min(...values)} to ${Math.max(...values)}${unit}, now ${values.at(-1)}${unit}`;
  const available = hour.available === 1 ? "100 %" : `${(Math.floor(hour.available * 1e5) / 1e3).toFixed(3)} %`;
  return h("div", { class: "hours" },
    h("p", { class: "summary" }, h("b", null, `available ${available}`), ` since the start · ${changed}`),
    ups.length === 0 ? null : h("figure", null, h("figcaption", null, `up ${up} of ${hour.of}`),
      stepGraph("up", hour.up, hour.of, `addresses up in the last hour: ${between(ups, "")}`)),
    ttls.length === 0 ? null : h("figure", null, h("figcaption", null, `TTL ${ttl} s`),
      stepGraph("ttl", hour.ttl, Math.max(...ttls), `TTL in the last hour: ${between(ttls, " s")}`)),
    !answered ? null : h("figure", null, h("figcaption", null, "led ",
      ...hour.led.map(({ address }, which) => h("span", { class: "legend" }, swatch(which), address))),
      ledGraph(hour.led, HOUR / 6, `leading answers in the last hour: ${ledText(hour.led)}`)));
}

function ledText(led) {
  const sums = led.map(({ answers }) => answers.reduce((sum, each) => sum + each, 0));
  const total = sums.reduce((sum, each) => sum + each, 0);
  return led.map(({ address }, which) => `${address} ${percent(sums[which] / total)}`).join(", ");
}

function backendView(owner, backend, probes, slowest, now) {
  const state = backend.handed_out ? null : "out";
  return h("tr", { role: "row", "data-key": backend.address, class: state },
    h("th", { scope: "row", role: "rowheader" }, h("span", { class: "address" }, backend.address), " ",
      backend.backup ? h("span", { class: "tag" }, "backup") : null,
      backend.joined === null ? null
        : h("span", { class: "tag", title: `joined ${clock(backend.joined.since, now)} by ${backend.joined.by}` },
          `joined, ${age(Math.max(0, backend.joined.until - now))} left`),
      backend.handed_out ? null : h("span", { class: "tag" }, "not handed out"),
      orderView(backend, now), cachesView(backend, now),
      !mayOrder() ? null : h("span", { class: "acts" }, ...["drain", "maint", "ready"]
        .filter((mode) => mode !== backend.mode || (mode === "ready" && backend.order !== null))
        .map((mode) => orderButton(mode, owner, [backend.address], `${mode} ${backend.address}`)))),
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
function cachesView({ expires, order }, now) {
  if (expires === null) return null;
  if (expires <= now) return h("span", { class: "note" }, "clear since ", when(expires, now));
  const begun = order === null ? null : Math.max(order.since, order.at ?? 0);
  return h("span", { class: "note clock" }, `last copy expires in ${age(expires - now + 0.999)}`,
    begun === null || begun >= expires ? null : bar("left", (expires - now) / (expires - begun)));
}

function shareView(backend) {
  const configured = backend.handed_out ? backend.share : null;
  const row = (kind, label, share) => [
    h("span", { class: "label" }, label), bar(kind, share), h("span", { class: "value" }, percent(share)),
  ];
  const left = backend.left === null ? "" : ` × ${percent(backend.left)}`;
  const led = backend.led > 0 ? ` · led ${short(backend.led)}` : "";
  return h("div", { class: "shares" },
    ...row("set", "set", configured), ...row("led", "led", backend.achieved),
    h("span", { class: "note" }, `weight ${backend.weight}${left}${led}`),
    backend.load_why ? h("span", { class: "note" }, "load ", h("bdi", null, backend.load_why)) : null);
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
  const pool = chosenPool();
  if (pool !== null) {
    const shown = all.filter(({ owner }) => owner === pool);
    return { shown, text: shown.length > 0 ? "" : `There is no pool ${pool} here.` };
  }
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

/** Of everything, or of what concerns the pool that is shown, and has all the words of the filter. */
function changesFound() {
  const words = document.getElementById("changes-filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const kinds = document.getElementById("changes-kind").value.split(", ").filter(Boolean);
  const pool = chosenPool();
  const addresses = new Set(pool === null ? [] : cards(page.status).filter(({ owner }) => owner === pool)
    .flatMap(({ rrset }) => rrset.backends.map(({ address }) => address)));
  const concerns = ({ owner, address }) => pool === null || owner === pool || (owner === null && addresses.has(address));
  const found = page.changes.filter((change) => {
    const text = [change.what, change.owner ?? "all names", change.address, change.reason, change.by].join(" ").toLowerCase();
    const isOfKind = kinds.length === 0 || kinds.includes(change.what.split(" ")[0]);
    return concerns(change) && isOfKind && words.every((word) => text.includes(word));
  });
  return found.slice(words.length > 0 || kinds.length > 0 ? -CHANGES_FOUND : -CHANGES);
}

function changesView(now) {
  if (page.changes.length === 0) return h("p", { class: "none" }, "None since the server started.");
  const found = changesFound();
  if (found.length === 0) return h("p", { class: "none" }, "None of those that are remembered.");
  const rows = found.reverse().map((change) => {
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

/** Queries a second, and how many addresses of all pools were up. */
function serverHourView() {
  const { hour } = page;
  if (hour === null || hour.queries.length === 0) return h("p", { class: "none" }, "The first sample comes within 10 s.");
  const rates = hour.queries.map((queries) => queries / hour.every);
  const most = Math.max(...rates);
  const said = (value) => (value < 10 ? value.toFixed(1) : Math.round(value).toLocaleString("en"));
  const text = `queries ${said(rates.at(-1))} /s, at most ${said(most)} /s`;
  return h("figure", null, h("figcaption", null, text),
    stepGraph("queries", rates.map((value) => [value, 1]), most, `in the last hour: ${text}`),
    hour.left_off > 0 ? h("p", { class: "note" }, `${count(hour.left_off, "pool")} beyond the first 500 have no graphs`) : null);
}

/** The same pool at the other nodes. */
function peersView(peers) {
  return peers.length === 0 ? [] : [document.createTextNode("other nodes:"),
    ...peers.map(({ name, url }) => h("a", { href: `${url}${location.hash}` }, h("bdi", null, name)))];
}

function zonesView(status) {
  const wanted = document.getElementById("filter").value.trim().toLowerCase();
  const found = status.zones.filter(({ zone }) => zone.toLowerCase().includes(wanted));
  const zones = (found.length > 0 ? found : status.zones).toSorted((one, other) => (other.changed ?? 0) - (one.changed ?? 0));
  const items = zones.slice(0, MOST_ZONES).map(({ zone, serial, changed, change }) => h("li", { "data-key": zone },
    h("bdi", { class: "owner" }, zone), h("span", { class: "serial" }, `serial ${serial}`),
    changed === null ? null : h("span", { class: "note" }, when(changed, status.now), ` ${change}`)));
  if (zones.length > MOST_ZONES) items.push(h("li", { class: "none" }, `and ${count(zones.length - MOST_ZONES, "zone")} more: filter by name`));
  return h("ul", { class: "list" }, ...items);
}

/** Those that lag first. */
function secondariesView(secondaries, now) {
  const rows = secondaries.toSorted((one, other) => other.lags - one.lags).slice(0, MOST_ZONES);
  const items = rows.map((one) => h("li", { "data-key": `${one.zone} ${one.secondary}` },
    h("span", { class: one.lags ? "verdict drain" : "verdict up" }, icon(one.lags ? "warning" : "up"), one.lags ? "lags" : "in step"),
    h("bdi", { class: "owner" }, one.zone), h("span", { class: "address" }, one.secondary),
    h("span", { class: "serial" }, one.serial === null ? "no serial yet" : one.lags ? `serial ${one.serial}, not ${one.wanted}` : `serial ${one.serial}`),
    one.since ? h("span", { class: "note" }, `for ${age(now - one.since)}`) : null,
    one.error ? h("bdi", { class: "reason" }, one.error) : null));
  if (secondaries.length > rows.length) items.push(h("li", { class: "none" }, `and ${secondaries.length - rows.length} more`));
  return h("ul", { class: "list" }, ...items);
}

/** Those in trouble first. */
function replicasView(replicas, now) {
  const isBad = (one) => one.serial === null || one.error !== "";
  const rows = replicas.toSorted((one, other) => isBad(other) - isBad(one)).slice(0, MOST_ZONES);
  const items = rows.map((one) => h("li", { "data-key": one.zone },
    h("span", { class: isBad(one) ? "verdict drain" : "verdict up" }, icon(isBad(one) ? "warning" : "up"), one.serial === null ? "not held" : isBad(one) ? "not refreshed" : "refreshed"),
    h("bdi", { class: "owner" }, one.zone), h("span", { class: "address" }, one.primary || one.primaries.join(", ")),
    h("span", { class: "serial" }, one.serial === null ? "SERVFAIL is answered" : `serial ${one.serial}`),
    one.refreshed === null ? null : h("span", { class: "note" }, `${age(now - one.refreshed)} ago`),
    one.expires === null ? null : h("span", { class: "note" }, `expires in ${age(Math.max(0, one.expires - now))}`),
    one.error ? h("bdi", { class: "reason" }, one.error) : null));
  if (replicas.length > rows.length) items.push(h("li", { class: "none" }, `and ${replicas.length - rows.length} more`));
  return h("ul", { class: "list" }, ...items);
}

// A pool has a page of its own, to link to.

const linkTo = (owner) => `#pool/${encodeURIComponent(owner)}`;

function chosenPool() {
  const match = /^#pool\/(.+)$/.exec(location.hash);
  if (match === null) return null;
  try {
    return decodeURIComponent(match[1]);
  } catch {
    return match[1];
  }
}

function drawTitle(pool) {
  const name = page.status?.server.name || location.hostname;
  fill(document.querySelector("h1"), [document.createTextNode(page.status === null ? "dnslb" : "dnslb "),
    ...(page.status === null ? [] : [h("bdi", { class: "name" }, name)])]);
  fill(document.getElementById("pools-title"), pool === null ? [document.createTextNode("Pools")]
    : [h("a", { href: "#" }, "All pools"), document.createTextNode(" › "), h("bdi", null, pool)]);
  document.querySelector('[role="search"]').hidden = pool !== null;
  document.body.classList.toggle("one", pool !== null);
  return `${pool === null ? "" : `${pool} · `}dnslb ${name}`;
}

function draw() {
  const pool = chosenPool();
  const found = alarms();
  const { status } = page;
  const put = (id, ...nodes) => fill(document.getElementById(id), nodes);
  put("alarms", ...found);
  const number = found.filter((each) => !each.classList.contains("notice")).length;
  document.title = `${number > 0 ? `▲ ${count(number, "alarm")} · ` : ""}${drawTitle(pool)}`;
  put("given", ...givenView());
  document.body.classList.toggle("stale", page.lost !== null);
  put("link", document.createTextNode(page.lost !== null ? "✕ no connection" : status === null ? "connecting…" : "● live"));
  if (status === null) return;
  put("source", h("span", null, `${status.server.version} serves `), h("bdi", null, status.directory),
    h("span", null, ` as of ${clock(status.loaded, status.now)}`));
  put("server", ...serverView(status));
  put("peers", ...peersView(status.server.peers));
  const { shown, text } = poolsView(status);
  put("shown", document.createTextNode(text));
  put("pools", ...cardsView(shown, status.now));
  put("changes", changesView(status.now));
  put("hour", serverHourView());
  put("zones", zonesView(status));
  const { secondaries = [], replicas = [] } = status;
  document.getElementById("replicas-part").hidden = replicas.length === 0;
  put("replicas", replicasView(replicas, status.now));
  document.getElementById("secondaries-part").hidden = secondaries.length === 0;
  put("secondaries", secondariesView(secondaries, status.now));
}

// Polling.

async function ask(target) {
  const until = Date.now() + PATIENCE;
  let reply;
  for (;;) {
    page.asking = performance.now();
    reply = await fetch(target, { signal: AbortSignal.timeout(until - Date.now()), cache: "no-store", headers: credentials() });
    page.asking = null;
    // A server that is busy for a moment says when to ask again.
    if (!reply.headers.has("Retry-After") || Date.now() + EVERY >= until) break;
    await new Promise((resolve) => { setTimeout(resolve, EVERY); });
  }
  const value = await reply.json();
  if (reply.status === 401) forget();  // it was taken out of the file
  if (!reply.ok) throw new Error(`${value.error}; ${value.remedy}`);
  return value;
}

/** Say so as soon as the server does not answer: the request under way may wait for long. */
function look() {
  if (page.asking === null || page.lost !== null || document.hidden) return;
  const silent = performance.now() - page.asking;
  if (silent < Math.max(SILENCE, 3 * page.took)) return;
  page.lost = Date.now() - silent;
  page.why = "no answer";
  draw();
}

const verdicts = (status) =>
  status && cards(status).map(({ rrset }) => rrset.backends.map(({ up, mode }) => `${up} ${mode}`).join()).join();

/** What is told of many pools is long, and an hour is wide: then it is asked for less often. */
function isHourOld(now) {
  const { hour } = page;
  if (hour === null || hour.queries.length === 0) return true;
  return !document.hidden && now > hour.at + hour.every * Math.max(1, Math.ceil(hour.rrsets.length / HOURS_AT_ONCE));
}

async function poll(round) {
  try {
    const status = await ask("/status");
    if (round % REST === 0 || verdicts(status) !== verdicts(page.status)) {
      const [{ probes }, { changes }] = await Promise.all([ask("/probes"), ask("/history")]);
      page.probes = new Map(probes.map((one) => [`${one.owner} ${one.address}`, one]));
      page.changes = changes;
    }
    if (isHourOld(status.now)) {
      page.hour = await ask("/timeline");
      page.lines = new Map(page.hour.rrsets.map((one) => [`${one.owner} ${one.type}`, one]));
    }
    if (page.status !== null && page.status.server.version !== status.server.version) location.reload();
    const isSame = page.status !== null && page.status.server.started === status.server.started;
    page.counts = [...(isSame ? page.counts.slice(1 - SAMPLES) : []), [status.now, status.server.queries]];
    page.status = status;
    page.lost = null;
  } catch (error) {
    page.asking = null;
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
  document.getElementById("changes-filter").addEventListener("input", draw);
  document.getElementById("changes-kind").addEventListener("change", draw);
  begin(draw, () => (page.status === null ? Date.now() / 1000 : page.status.now));
  window.addEventListener("hashchange", () => {
    draw();
    document.getElementById("pools-title").focus();
    scrollTo(0, 0);
  });
  setInterval(look, LOOK);
  for (let round = 0; ; round += 1) {
    const began = performance.now();
    await poll(round);
    draw();
    const took = page.took = performance.now() - began;
    await pause(document.hidden ? EVERY_HIDDEN : Math.max(EVERY - took, took / SHARE_OF_TIME - took));
  }
}

run().catch((error) => {
  document.getElementById("link").textContent = "✕ this page has failed: load it again";
  document.body.classList.add("stale");
  throw error;
});
