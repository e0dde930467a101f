// One purchase, from the press to the order's state in the ledger. Pressing again, reloading or losing
// the connection is harmless: the shop keeps one live order of a buyer in a sale and answers with it.

import { call, pause, Problem } from "./api.js";
import { refusal, stateSentence } from "./words.js";

const maxTries = 8;
const again = new Set(["unknown_outcome", "network", "overloaded", "unavailable", "rate_limited", "too_soon", "paused"]);

/**
 * Presses "buy" until there is a definite answer, at most maxTries times. report(view) is told what
 * to show: {tone, title, text, step}. Resolves to {order, earlier}: the order id, "" when there is none,
 * and whether it was the buyer's before the first press.
 */
export async function buy(saleId, quantity, report, signal) {
  let ticket = "";
  let doubt = false; // an earlier press may still go through
  for (let attempt = 1; ; attempt++) {
    report({ tone: "", title: attempt === 1 ? "Asking for a unit…" : `Asking again (${attempt} of ${maxTries})…`, text: "Keep this page open.", step: 0 });
    try {
      const headers = ticket ? { "Headgate-Ticket": ticket } : {};
      const { body } = await call("POST", `/api/sales/${encodeURIComponent(saleId)}/orders`, { body: { quantity }, headers, signal });
      return { order: body.order_id, earlier: false };
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      if (signal.aborted) return stopped(report, true);
      if (problem.code === "already_ordered" && problem.body.order_id) return { order: problem.body.order_id, earlier: attempt === 1 };
      if (problem.code === "unknown_outcome" && problem.body.ticket) ticket = problem.body.ticket;
      doubt ||= problem.code === "unknown_outcome" || problem.code === "network";
      if (!again.has(problem.code)) return refused(report, problem, attempt, false);
      // What is temporary speaks of this press only.
      const shown = doubt && problem.code !== "network" ? new Problem(problem.status, { code: "unknown_outcome" }, 0) : problem;
      if (attempt >= maxTries) return refused(report, shown, attempt, doubt);
      const seconds = problem.retryAfter || Math.min(2 ** (attempt - 1), 8);
      try {
        await pause(seconds * 1000 + Math.random() * 400, {
          signal,
          tick: (left) => report({
            tone: "wait",
            title: refusal(shown),
            text: `Trying again in ${left} s, by itself (${attempt} of ${maxTries}).`,
            stoppable: true,
          }),
        });
      } catch {
        return stopped(report, doubt);
      }
    }
  }
}

function refused(report, problem, attempt, open) {
  report({
    tone: open ? "wait" : "bad",
    title: refusal(problem),
    text: open
      ? "It may still go through: look at your orders below in a moment. Pressing again is safe and never buys twice."
      : attempt > 1 ? "You can press again." : "",
    final: true,
    code: problem.code,
  });
  return { order: "", earlier: false };
}

function stopped(report, doubt) {
  report({
    tone: "wait",
    title: "Stopped.",
    text: doubt ? "An earlier press may still go through: look at your orders below in a moment." : "Nothing more is being asked for.",
    final: true,
  });
  return { order: "", earlier: false };
}

const stepOf = { pending: 1, queued: 1 };

/** Follows an order by long poll until it is in the ledger. Resolves to the order, or null. */
export async function follow(orderId, earlier, report, signal) {
  for (let failures = 0; failures < 10;) {
    let problem;
    try {
      const { body } = await call("GET", `/api/orders/${encodeURIComponent(orderId)}?wait=10s`, { within: 25000, signal });
      failures = 0;
      const step = stepOf[body.status];
      if (step === undefined) {
        const good = body.status === "unpaid" || body.status === "paid";
        report({ tone: good ? "good" : "bad", title: !good ? "No order." : earlier ? "You already have an order in this sale." : "You got it.", text: stateSentence(body), final: true, order: body });
        return body;
      }
      report({ tone: "", title: body.status === "queued" ? "Order accepted." : "Almost there…", text: stateSentence(body), step });
      await pause(500, { signal });
      continue;
    } catch (caught) {
      if (signal.aborted) return null;
      if (!(caught instanceof Problem)) throw caught;
      problem = caught;
    }
    if (problem.code === "unauthenticated" || problem.code === "not_found") {
      report({ tone: "wait", title: refusal(problem), text: "", final: true, code: problem.code });
      return null;
    }
    failures++;
    const seconds = problem.retryAfter || Math.min(2 ** failures, 15);
    await pause(seconds * 1000, {
      signal,
      tick: (left) => report({ tone: "wait", title: "Your order is with the shop.", text: `Its state cannot be read just now. Looking again in ${left} s.`, step: 1 }),
    }).catch(() => {});
    if (signal.aborted) return null;
  }
  report({ tone: "wait", title: "Your order is with the shop.", text: "Its state cannot be read just now. It will show under your orders.", final: true });
  return null;
}
