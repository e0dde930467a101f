// The list of sales: one card each, kept in place and updated, never rebuilt under the reader's finger.

import { call, Problem } from "./api.js";
import { askSignIn, sessionEnded, signedIn } from "./account.js";
import { buy, follow } from "./buy.js";
import * as clock from "./clock.js";
import { announce, byId, el, setClass, setHidden, setText } from "./dom.js";
import { refreshOrders } from "./orders.js";
import { count, phaseWords, price, refusal } from "./words.js";

const cards = new Map();
let refreshing = 0;
let wanted = false;

/** Fetches the sales now, and again at a pace that fits what is about to happen. */
export async function refreshSales() {
  clearTimeout(refreshing);
  let wait = 5000;
  try {
    const { body } = await call("GET", "/api/sales", { within: 8000 });
    clock.learn(body.server_time);
    show(body.sales || []);
    setClass(byId("link-dot"), "dot live");
    setHidden(byId("sales-notice"), true);
    wait = paceFor(body.sales || []);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    setClass(byId("link-dot"), "dot lost");
    setText(byId("sales-notice"), `${problem.code === "network" ? "The shop cannot be reached." : refusal(problem)} What you see may be out of date; trying again.`);
    setHidden(byId("sales-notice"), false);
    wait = Math.max(problem.retryAfter * 1000, 4000);
  }
  wanted = document.hidden;
  if (!document.hidden) refreshing = setTimeout(refreshSales, wait * (0.85 + Math.random() * 0.3));
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && wanted) refreshSales();
});

function paceFor(sales) {
  const now = clock.now();
  const near = (millis) => millis && Math.abs(millis - now) < 15000;
  if (sales.some((s) => near(s.opens_at) || near(s.ends_at) || (s.releases || []).some((r) => near(r.at)))) return 1500;
  return sales.some((s) => s.phase === "open") ? 3000 : 6000;
}

function show(sales) {
  const list = byId("sales");
  if (list.getAttribute("aria-busy") === "true") {
    list.replaceChildren();
    list.setAttribute("aria-busy", "false");
  }
  const seen = new Set(sales.map((s) => s.id));
  for (const [id, card] of cards) {
    if (!seen.has(id) && !card.busy) {
      card.root.remove();
      cards.delete(id);
    }
  }
  sales.forEach((s) => {
    let card = cards.get(s.id);
    if (!card) {
      card = makeCard(s.id);
      cards.set(s.id, card);
      list.append(card.root);
    }
    card.sale = s;
    draw(card);
  });
  const empty = list.querySelector(".empty");
  if (sales.length === 0 && cards.size === 0) {
    if (!empty) list.append(el("p", { class: "empty" }, "No sales are planned at the moment."));
  } else empty?.remove();
}

/** Redraws what moves with the clock; called each second. */
export function tick() {
  for (const card of cards.values()) drawTime(card);
}

function makeCard(id) {
  const c = { id, sale: null, busy: false, stop: null };
  c.title = el("h3", { id: `sale-${id}` });
  c.badge = el("span", { class: "badge" });
  c.text = el("p", { class: "card-text" });
  c.price = el("span", { class: "price digits" });
  c.limit = el("span", { class: "limit" });
  c.whenLabel = el("p", { class: "when-label" });
  c.whenTime = el("p", { class: "when-time digits", role: "timer", "aria-live": "off" });
  c.whenExact = el("p", { class: "when-exact" });
  c.when = el("div", { class: "when" }, c.whenLabel, c.whenTime, c.whenExact);
  c.stockText = el("span");
  c.fill = el("span", { class: "stock-fill" });
  c.stock = el("div", { class: "stock" }, c.stockText, el("span", { class: "stock-bar", "aria-hidden": "true" }, c.fill));
  c.releaseList = el("ol");
  c.releases = el("div", { class: "releases" }, el("p", { class: "releases-title" }, "Comes on sale in parts"), c.releaseList);
  c.quantity = el("select", { id: `quantity-${id}` });
  c.quantityRow = el("label", { class: "quantity", for: `quantity-${id}` }, "Number", c.quantity);
  c.button = el("button", { type: "button", class: "button primary", "aria-describedby": `sale-${id}`, onclick: () => press(c) });
  c.progressTitle = el("p", { class: "progress-title" });
  c.progressText = el("p", { class: "progress-text" });
  c.steps = el("div", { class: "steps", "aria-hidden": "true" }, ...["Asked", "Accepted", "Reserved"].map((word) => el("span", { class: "step" }, word)));
  c.stopButton = el("button", { type: "button", class: "button quiet small", onclick: () => c.stop?.abort() }, "Stop trying");
  c.progress = el("div", { class: "progress", hidden: true }, c.progressTitle, c.progressText, c.steps, el("div", { class: "progress-row" }, c.stopButton));
  const buyBox = el("div", { class: "buy" }, el("div", { class: "buy-row" }, c.quantityRow, c.button), c.progress);
  c.root = el("article", { class: "card", "aria-labelledby": `sale-${id}` },
    el("div", { class: "card-head" }, c.title, c.badge), c.text,
    el("div", { class: "price-row" }, c.price, c.limit), c.when, c.stock, c.releases, buyBox);
  return c;
}

function draw(c) {
  const s = c.sale;
  setText(c.title, s.title || `Sale ${s.id}`);
  setText(c.text, s.description || "");
  setHidden(c.text, !s.description);
  setText(c.price, price(s.price_minor, s.currency));
  setText(c.limit, s.limit_per_user === 0 ? "" : s.limit_per_user === 1 ? "one per person" : `up to ${count(s.limit_per_user)} per person`);
  const most = Math.min(s.limit_per_user || 10, 10);
  if (c.quantity.options.length !== most) {
    c.quantity.replaceChildren(...Array.from({ length: most }, (_, i) => el("option", { value: i + 1 }, String(i + 1))));
  }
  const shown = s.phase === "open" && Number.isFinite(s.left) && s.stock > 0;
  setHidden(c.stock, !shown);
  if (shown) {
    setText(c.stockText, s.left === 0 ? `Everything released so far is taken, of ${count(s.stock)} in all` : `About ${count(s.left)} of ${count(s.stock)} left`);
    c.fill.style.transform = `scaleX(${Math.max(0.01, Math.min(1, s.left / s.stock))})`;
  }
  drawReleases(c);
  drawTime(c);
}

function drawReleases(c) {
  const releases = c.sale.releases || [];
  setHidden(c.releases, releases.length === 0 || c.sale.phase === "ended");
  const now = clock.now();
  const staged = releases.reduce((sum, r) => sum + r.units, 0);
  const rows = [...(c.sale.stock > staged ? [{ at: c.sale.opens_at, units: c.sale.stock - staged }] : []), ...releases];
  const next = rows.findIndex((r) => r.at > now);
  const key = `${next}:${JSON.stringify(rows)}`;
  if (c.releaseKey === key) return;
  c.releaseKey = key;
  c.releaseList.replaceChildren(...rows.map((r, i) => el("li", { class: `release${next === -1 || i < next ? " done" : i === next ? " next" : ""}` },
    el("span", {}, `${count(r.units)} ${r.units === 1 ? "unit" : "units"}`), el("span", { class: "digits" }, clock.moment(r.at)))));
}

/** The phase with the clock's word for the moment of opening and ending, between two answers. */
function phaseNow(s) {
  const now = clock.now();
  if (s.ends_at && now >= s.ends_at) return "ended";
  if (s.phase === "upcoming" && now >= s.opens_at) return "open";
  return s.phase;
}

function drawTime(c) {
  const s = c.sale;
  const now = clock.now();
  const phase = phaseNow(s);
  setClass(c.badge, `badge ${phase}`);
  setText(c.badge, phaseWords[phase] || phase);
  drawReleases(c);
  const next = (s.releases || []).find((r) => r.at > now);
  if (phase === "upcoming") showWhen(c, "Opens in", s.opens_at, now);
  else if (phase === "open" && s.left === 0 && next) showWhen(c, "More on sale in", next.at, now);
  else if (phase === "open" && s.ends_at) showWhen(c, "Ends in", s.ends_at, now);
  else setHidden(c.when, true);
  drawButton(c, phase);
}

function showWhen(c, label, at, now) {
  setHidden(c.when, false);
  setText(c.whenLabel, label);
  setText(c.whenTime, clock.span(at - now));
  setText(c.whenExact, `at ${clock.moment(at)}`);
  setClass(c.when, at - now < 60000 ? "when soon" : "when");
}

function drawButton(c, phase) {
  // While a press is under way the button keeps the focus, so it is not disabled but does nothing.
  c.button.disabled = !c.busy && phase !== "open";
  if (c.busy) c.button.setAttribute("aria-disabled", "true");
  else c.button.removeAttribute("aria-disabled");
  c.quantity.disabled = c.busy;
  setHidden(c.quantityRow, c.sale.limit_per_user === 1 || (phase !== "open" && phase !== "upcoming"));
  let words = { upcoming: "Not open yet", open: signedIn() ? "Buy now" : "Sign in to buy", paused: "Paused by the shop", sold_out: "Sold out", ended: "Ended" }[phase];
  if (c.busy) words = "One moment…";
  setText(c.button, words || "Not on sale");
}

function report(c, view) {
  setHidden(c.progress, false);
  setClass(c.progress, `progress ${view.tone || ""}`.trim());
  setText(c.progressTitle, view.title);
  setText(c.progressText, view.text || "");
  setHidden(c.progressText, !view.text);
  setHidden(c.steps, view.step === undefined);
  [...c.steps.children].forEach((step, i) => setClass(step, `step${i < view.step ? " done" : i === view.step ? " now" : ""}`));
  setHidden(c.stopButton.parentElement, !view.stoppable);
  const said = `${view.title} ${view.stoppable ? "" : view.text || ""}`;
  if (c.said !== said) {
    c.said = said;
    announce(said);
  }
}

async function press(c) {
  if (c.busy) return;
  if (!signedIn() && !(await askSignIn("Sign in first; the sale stays as it is."))) return;
  if (c.busy || phaseNow(c.sale) !== "open") return;
  c.busy = true;
  c.stop = new AbortController();
  drawTime(c);
  try {
    const show = (view) => {
      if (view.code === "unauthenticated") sessionEnded();
      report(c, view);
    };
    const { order, earlier } = await buy(c.id, Number(c.quantity.value) || 1, show, c.stop.signal);
    c.order = order;
    if (order) {
      refreshOrders();
      await follow(order, earlier, show, c.stop.signal);
    }
  } finally {
    c.busy = false;
    c.stop = null;
    drawTime(c);
    refreshOrders();
    refreshSales();
  }
}

// A card that says "you got it" of a cancelled order would no longer tell the truth.
addEventListener("headgate:cancelled", (event) => {
  for (const c of cards.values()) {
    if (c.order === event.detail && !c.busy) setHidden(c.progress, true);
  }
  refreshSales();
});

export const titleOf = (saleId) => cards.get(saleId)?.sale?.title || `Sale ${saleId}`;
