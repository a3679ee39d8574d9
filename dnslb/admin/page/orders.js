// Orders from the page: a token, a question with the effect first, and what has become of each order.
//
// The token is in a variable of this module and nowhere else.  What is given is exactly what the effect was told of.

import { age, clock, count, fill, h } from "/elements.js";

const PAUSE = 250;        // ms after the last key until the effect is asked for
const PATIENCE = 25000;   // ms for an order: every worker acknowledges it
const MOST_EFFECTS = 10;  // shown
const MOST_GIVEN = 5;     // orders that can be undone

const find = (id) => document.getElementById(id);
const checked = (name) => document.querySelector(`input[name="${name}"]:checked`)?.value;

let token = null;    // '' while a proxy in between adds one of its own
let asked = null;    // what the dialog is about: owner, addresses
let ready = null;    // what may be given: its effect has been told
let number = 0;      // of the last question
let timer = null;
let redraw = () => {};
let serverNow = () => Date.now() / 1000;
const given = [];    // newest first

/** The headers that a request needs to be trusted. */
export const credentials = () => bearer(token);
const bearer = (secret) => (secret ? { Authorization: `Bearer ${secret}` } : {});
export const mayOrder = () => token !== null;

export function begin(draw, now) {
  redraw = draw;
  serverNow = now;
  find("token-ask").addEventListener("click", () => (token === null ? askForToken() : forget()));
  find("token-use").addEventListener("click", () => { useToken(); });
  find("order-give").addEventListener("click", () => { give(); });
  find("order-dialog").addEventListener("input", foresee);
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button === null) return;
    if (button.hasAttribute("data-close")) button.closest("dialog").close();
    if (button.hasAttribute("data-order")) open(button.dataset);
    if (button.hasAttribute("data-undo")) undo(given.find((each) => String(each.number) === button.dataset.undo));
    if (button.hasAttribute("data-forget")) dismiss(button.dataset.forget);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.target.nodeName !== "INPUT") return;
    const first = event.target.closest("dialog")?.querySelector("button.first");
    if (first && !first.disabled) first.click();
  });
  find("token-dialog").addEventListener("close", () => { find("token").value = ""; });
  askProxy();
  find("order-dialog").addEventListener("close", () => { asked = ready = null; number += 1; clearTimeout(timer); });
}

// The token.

function askForToken() {
  find("token-mistake").textContent = "";
  find("token-open").hidden = isSecureContext;  // over TLS, or on this machine
  find("token-dialog").showModal();
  find("token").focus();
}

/** Who comes through a proxy that knows them, and that adds a token of its own, needs none. */
async function askProxy() {
  try {
    const { name } = await (await fetch("/operator", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) })).json();
    if (!name) return;
    await post("/operator", {}, "");
    token = "";
    find("token-ask").textContent = `Orders are given by ${name}`;
    find("token-ask").disabled = find("reads").hidden = true;
    redraw();
  } catch {
    // That token is for reading, or nobody answers: one must be given.
  }
}

async function useToken() {
  const text = find("token").value.trim();
  if (!/^[!-~]+$/.test(text)) {
    find("token-mistake").textContent = text ? "That is no token: it is ASCII without blanks." : "Paste the token first.";
    return;
  }
  find("token-use").disabled = true;
  try {
    const value = await post("/operator", {}, text);
    token = text;
    find("token-ask").textContent = value.name.startsWith("token ") ? `Forget the token of ${value.name.slice(6)}` : "Forget the token";
    find("reads").hidden = true;
    find("token-dialog").close();
  } catch (error) {
    find("token-mistake").textContent = explained(error);
    find("token").focus();
  }
  find("token-use").disabled = false;
  redraw();
}

/** From now on the page reads only. */
export function forget() {
  token = null;
  find("token-ask").disabled = false;
  find("token-ask").textContent = "Give orders…";
  find("reads").hidden = false;
  if (find("order-dialog").open) find("order-dialog").close();
  redraw();
}

const explained = (error) =>
  error.name === "TimeoutError" ? "no answer; whether the order stands is seen below"
    : error instanceof TypeError ? "nobody answers" : error.message;

async function post(target, body, secret = token) {
  const reply = await fetch(target, {
    method: "POST", body: JSON.stringify(body), cache: "no-store", signal: AbortSignal.timeout(PATIENCE),
    headers: { "Content-Type": "application/json", ...bearer(secret) },
  });
  const value = await reply.json();
  if (!reply.ok) throw new Error(`${value.error}; ${value.remedy}`);
  return value;
}

// The question.

function open({ order, owner, addresses }) {
  asked = { owner, addresses: addresses.split(" ") };
  find("order-title").textContent = asked.addresses.length > 1 ? `All of ${owner}` : asked.addresses[0];
  find("order-about").textContent = asked.addresses.length > 1 ? asked.addresses.join(", ") : "";
  find("order-name").textContent = `under ${owner} only`;
  document.querySelector(`input[name="mode"][value="${order}"]`).checked = true;
  document.querySelector('input[name="scope"][value="name"]').checked = true;
  for (const id of ["order-reason", "order-at", "order-for"]) find(id).value = "";
  find("order-now").checked = find("order-force").checked = false;
  find("order-force-choice").hidden = true;
  find("order-mistake").textContent = "";
  find("order-dialog").showModal();
  find("order-reason").focus();
  foresee();
}

function wanted() {
  const mode = checked("mode");
  const body = { mode, addresses: asked.addresses };
  if (checked("scope") === "name") body.names = [asked.owner];
  if (find("order-reason").value) body.reason = find("order-reason").value;
  // The browser's time zone need not be the server's.
  if (find("order-at").value) body.at = new Date(find("order-at").value).getTime() / 1000;
  if (mode !== "ready" && find("order-for").value.trim()) body.for = find("order-for").value.trim();
  if (mode === "ready" && find("order-now").checked) body.now = true;
  if (mode !== "ready" && find("order-force").checked) body.force = true;
  return body;
}

/** Ask for the effect of what the dialog says; until it is told, nothing can be given. */
function foresee() {
  ready = null;
  number += 1;
  const mode = checked("mode");
  find("order-for").disabled = mode === "ready";
  find("order-now-choice").hidden = mode !== "ready";
  find("order-give").disabled = true;
  find("order-give").textContent = { drain: "Drain", maint: "Put in maint", ready: "Make ready" }[mode];
  clearTimeout(timer);
  timer = setTimeout(() => { foreseeNow(number); }, PAUSE);
}

async function foreseeNow(question) {
  const body = wanted();
  try {
    const effect = await post("/orders/effect", body);
    if (question !== number) return;
    ready = { body, standing: effect.standing };
    // Who has been told that a pool forbids it may say so all the same.
    if (effect.refused) find("order-force-choice").hidden = false;
    find("order-mistake").textContent = effect.refused;
    fill(find("effect"), [effectView(effect, body)]);
    find("order-give").disabled = effect.refused !== "";
  } catch (error) {
    if (question !== number) return;
    find("order-mistake").textContent = explained(error);
    fill(find("effect"), []);
  }
}

function effectView({ rrsets }, body) {
  const worst = [...rrsets].sort((one, other) => one.after / one.of - other.after / other.of);
  const items = worst.slice(0, MOST_EFFECTS).map((one) => h("li", { class: isBad(one) ? "bad" : null }, h("bdi", null, effectText(one, body))));
  if (worst.length > MOST_EFFECTS) items.push(h("li", null, `and ${count(worst.length - MOST_EFFECTS, "RRset")} more that fare no worse`));
  return h("ul", null, ...items);
}

const isBad = (one) => one.after === 0 || one.fails_open;

function effectText(one, body) {
  const now = serverNow();
  const parts = [`${one.after} of ${one.of} ${body.mode === "ready" ? "handed out" : "left"}${one.before === one.after ? ", as now" : ""}`];
  if (one.after === 0) parts[0] = "no address left: answered with NODATA";
  if (one.fails_open) parts.push("those are down: it fails open");
  if (body.mode !== "ready" && one.expires === null && one.after > 0 && one.before === one.of && one.after === one.of) {
    parts.push("no other is ready, so it goes on being handed out");
  }
  if (one.expires !== null) parts.push(`last copy expires in ${age(one.expires - now + 0.999)}`);
  return `${one.owner} ${one.type}: ${parts.join("; ")}`;
}

async function give() {
  const { body, standing } = ready;
  ready = null;
  find("order-give").disabled = true;
  find("order-mistake").textContent = "";
  try {
    const done = await post("/orders", body);
    const isUndoable = !(body.names && standing.some(({ owner }) => owner === null)) && done.clocks.some(({ changed }) => changed);
    given.unshift({ number, body, standing, clocks: done.clocks, warnings: done.warnings, isUndoable, note: "" });
    given.splice(MOST_GIVEN);
    find("order-dialog").close();
    say(`given: ${body.mode} ${body.addresses.join(", ")}`);
  } catch (error) {
    find("order-mistake").textContent = explained(error);
    if (error.message.includes("--force")) find("order-force-choice").hidden = false;
    ready = { body, standing };
    find("order-give").disabled = false;
  }
  redraw();
}

// What was given.

/** To a screen reader, once: clocks that run down would be read out every second. */
function say(text) {
  find("said").textContent = text;
}

async function undo(one) {
  if (!one || !one.isUndoable) return;
  one.isUndoable = false;
  const { body, standing } = one;
  try {
    // First as if there were no order at all, then those that stood before.
    await post("/orders", { mode: "ready", addresses: body.addresses, ...(body.names ? { names: body.names } : {}), reason: "undone" });
    for (const order of standing.filter(({ until }) => until === null || until > serverNow())) {
      const again = { mode: order.mode, addresses: [order.address], reason: order.reason };
      if (order.owner !== null) again.names = [order.owner];
      if (order.mode !== "ready") again.force = true;  // it has stood already
      if (order.at !== null && order.at > serverNow()) again.at = order.at;
      if (order.until !== null) again.until = order.until;
      await post("/orders", again);
    }
    one.note = "undone";
  } catch (error) {
    one.note = `not undone: ${explained(error)}`;
    one.isUndoable = true;
  }
  say(one.note);
  redraw();
  document.querySelector(`[data-forget="${one.number}"]`)?.focus();  // the button that was pressed is gone
}

function dismiss(which) {
  const place = given.findIndex((each) => String(each.number) === which);
  if (place >= 0) given.splice(place, 1);
  redraw();
  find("pools-title").focus();
}

export function givenView() {
  return given.map((one) => {
    const { body, clocks, note, warnings } = one;
    const where = body.names ? `under ${body.names.join(", ")}` : "everywhere";
    const until = body.at ? `, from ${clock(body.at, serverNow())}` : "";
    return h("div", { class: "given", "data-key": String(one.number) },
      h("p", { class: "title" }, `${body.mode} ${body.addresses.join(", ")} ${where}${until}`, note ? h("b", null, ` – ${note}`) : null),
      h("ul", null, ...warnings.map((text) => h("li", { class: "bad" }, text)),
        ...(note === "undone" ? [] : clocks.slice(0, MOST_EFFECTS).map((each) => h("li", null, h("bdi", null, clockText(each)))))),
      h("p", { class: "buttons" },
        one.isUndoable ? h("button", { type: "button", "data-undo": one.number }, "Undo") : null,
        h("button", { type: "button", "data-forget": one.number, "aria-label": "Close" }, "✕")));
  });
}

function clockText({ owner, type, address, expires, note }) {
  const now = serverNow();
  const parts = [note === "planned" ? "" : note];
  if (expires !== null) {
    parts.push(expires > now ? `last copy expires in ${age(expires - now + 0.999)}` : `no cache holds it since ${clock(expires, now)}`);
  }
  return `${owner} ${type} ${address}: ${parts.filter(Boolean).join("; ") || "done"}`;
}
