// The sandbox's pay page: what a payment provider would show on its own site.

import { call, Problem } from "./api.js";
import { byId, setText } from "./dom.js";
import { price } from "./words.js";

const button = byId("pay");

function show(payment) {
  setText(byId("pay-amount"), price(payment.amount_minor, payment.currency));
  setText(byId("pay-order"), `Order no. ${payment.order_id}`);
  const sentences = {
    open: `Pay before ${new Date(payment.expires_at).toLocaleTimeString()}.`,
    paid: "Paid. Thank you.",
    closed: "This payment has expired. Nothing was paid.",
  };
  setText(byId("pay-state"), sentences[payment.state] || "");
  button.disabled = payment.state !== "open";
  document.body.dataset.state = payment.state;
}

async function ask(method, path) {
  button.disabled = true;
  try {
    show((await call(method, path + location.search)).body);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    setText(byId("pay-state"), problem.code === "network" ? "No answer came back. Try again." : problem.message);
    button.disabled = ["forbidden", "conflict", "not_found", "invalid_request"].includes(problem.code);
  }
}

button.addEventListener("click", () => ask("POST", location.pathname));
ask("GET", "/sandbox/payment");
