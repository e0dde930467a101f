// The buyer's own orders, newest first, with paying and cancelling while unpaid.

import { call, Problem } from "./api.js";
import { sessionEnded, signedIn } from "./account.js";
import { moment, now } from "./clock.js";
import { announce, byId, el, setHidden, setText } from "./dom.js";
import { titleOf } from "./sales.js";
import { count, price, refusal, stateSentence, stateWords } from "./words.js";

let orders = [];
let nextPage = "";
let running = null;
let again = false;
let deadlineTimer = 0;
let payingTimer = 0;

/** Fetches the first page; calls during a fetch make one more afterwards. */
export async function refreshOrders() {
  if (!signedIn()) {
    orders = [];
    setHidden(byId("orders-section"), true);
    return;
  }
  if (running) {
    again = true;
    return;
  }
  running = load("");
  try {
    await running;
  } finally {
    running = null;
  }
  if (again) {
    again = false;
    refreshOrders();
  }
}

async function load(page) {
  try {
    const { body } = await call("GET", `/api/orders?limit=20${page ? `&after=${encodeURIComponent(page)}` : ""}`);
    orders = page ? [...orders, ...(body.orders || [])] : body.orders || [];
    nextPage = body.next || "";
    notice("");
    draw();
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    if (problem.code === "unauthenticated") {
      sessionEnded();
      return;
    }
    notice(`Your orders cannot be shown just now. ${refusal(problem)}`);
    setHidden(byId("orders-section"), false);
  }
}

function notice(sentence) {
  setText(byId("orders-notice"), sentence);
  setHidden(byId("orders-notice"), !sentence);
}

function draw() {
  clearTimeout(deadlineTimer);
  clearTimeout(payingTimer);
  const focused = document.activeElement?.dataset?.order;
  setHidden(byId("orders-section"), false);
  byId("orders").replaceChildren(...(orders.length ? orders.map(row) : [el("li", { class: "empty" }, "Nothing ordered yet.")]));
  setHidden(byId("orders-more"), !nextPage);
  if (focused) byId("orders").querySelector(`[data-order="${CSS.escape(focused)}"]`)?.focus();
  const due = orders.filter((o) => o.status === "unpaid" && o.deadline > now()).map((o) => o.deadline);
  if (due.length) deadlineTimer = setTimeout(refreshOrders, Math.min(Math.min(...due) - now() + 2000, 2 ** 30));
  if (orders.some((o) => o.status === "unpaid" && o.order_id === sessionStorage.getItem("paying"))) followPayment();
}

/** After a visit to the pay page the provider's word is on its way: look again for a minute. */
function followPayment() {
  const since = Number(sessionStorage.getItem("paying-since"));
  if (Date.now() - since < 60000) payingTimer = setTimeout(refreshOrders, 1500);
}

function row(order) {
  const unpaid = order.status === "unpaid";
  const amount = order.amount_minor === undefined ? "" : ` · ${price(order.amount_minor, order.currency)}`;
  return el("li", { class: "order" },
    el("p", { class: "order-title" }, `${titleOf(order.sale)}${order.quantity > 1 ? ` × ${count(order.quantity)}` : ""}`),
    el("p", { class: "order-line digits" }, `${order.created_at ? moment(order.created_at) : ""}${amount} · no. ${order.order_id}`),
    el("p", { class: "order-line" }, stateSentence(order)),
    el("div", { class: "order-side" },
      el("span", { class: `badge ${order.status}` }, stateWords[order.status] || order.status),
      unpaid ? el("button", { type: "button", class: "button primary small", "aria-label": `Pay order ${order.order_id}`, onclick: (event) => pay(order, event.currentTarget) }, "Pay") : null,
      unpaid ? el("button", { type: "button", class: "button quiet small", "data-order": order.order_id, "aria-label": `Cancel order ${order.order_id}`, onclick: () => cancel(order) }, "Cancel") : null));
}

async function pay(order, button) {
  button.disabled = true;
  try {
    const { body } = await call("POST", `/api/orders/${encodeURIComponent(order.order_id)}/pay`, { body: {} });
    if (body.payment?.page) {
      sessionStorage.setItem("paying", order.order_id);
      sessionStorage.setItem("paying-since", String(Date.now()));
      location.assign(body.payment.page);
      return;
    }
    notice("");
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    if (problem.code === "unauthenticated") sessionEnded();
    const sentence = problem.code === "not_found" ? "Nothing can be paid in this shop." : refusal(problem);
    await refreshOrders();
    notice(sentence);
    return;
  }
  await refreshOrders();
}

function confirmCancel(order) {
  const dialog = byId("cancel-dialog");
  setText(byId("cancel-lead"), `${titleOf(order.sale)}: your unit goes back on sale, and somebody else may take it.`);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "cancel"), { once: true });
  });
}

async function cancel(order) {
  if (!(await confirmCancel(order))) return;
  try {
    await call("POST", `/api/orders/${encodeURIComponent(order.order_id)}/cancel`, { body: {} });
    dispatchEvent(new CustomEvent("headgate:cancelled", { detail: order.order_id }));
    announce("The order is cancelled.");
    notice("");
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    if (problem.code === "unauthenticated") sessionEnded();
    const sentence = refusal(problem);
    await refreshOrders();
    notice(sentence);
    return;
  }
  await refreshOrders();
}

export function startOrders() {
  byId("orders-more").addEventListener("click", async () => {
    const button = byId("orders-more");
    button.disabled = true;
    await load(nextPage);
    button.disabled = false;
  });
}
