// What the page says, in plain words: one place for phases, order states and the reason of each refusal.

import { moment } from "./clock.js";

export const phaseWords = {
  upcoming: "Opens soon",
  open: "On sale",
  paused: "Paused",
  sold_out: "Sold out",
  ended: "Ended",
};

export const stateWords = {
  pending: "Being taken",
  queued: "In the queue",
  unpaid: "Reserved for you",
  paid: "Paid",
  cancelled: "Cancelled",
  expired: "Did not happen",
  rejected: "Refused",
  refunded: "Refunded",
};

/** What the state of an order means for its buyer. */
export function stateSentence(order) {
  switch (order.status) {
    case "pending":
      return "A unit is held for you while the shop takes the order.";
    case "queued":
      return "The shop has your order. It is being written down; this takes a moment when many buy at once.";
    case "unpaid":
      return order.deadline
        ? `A unit is yours until ${moment(order.deadline)}. Pay before then.`
        : "A unit is yours. Pay for it to keep it.";
    case "paid":
      return "Paid. Thank you.";
    case "cancelled":
      return "Cancelled. The unit went back on sale.";
    case "expired":
      return "The shop did not take this order in time, so it did not happen. Nothing was bought.";
    case "rejected":
      return "The shop could not accept this order. Nothing was bought.";
    case "refunded":
      return "Refunded.";
    default:
      return "";
  }
}

/** Why a press was refused, for the one who pressed. */
export function refusal(problem) {
  const b = problem.body || {};
  switch (problem.code) {
    case "sold_out":
      return Number(b.held) > 0
        ? `Every unit is taken. ${b.held} of them are still being ordered by others and may come back within a minute.`
        : "Every unit is sold.";
    case "insufficient":
      return Number(b.left) > 0 ? `Fewer are left than you asked for: ${b.left}. Choose a smaller number.` : "Fewer are left than you asked for.";
    case "already_ordered":
      return "You already have an order in this sale.";
    case "limit_reached":
      return "You have reached the number of units that one person may buy in this sale.";
    case "not_open":
      return b.opens_at ? `Nothing is on sale before ${moment(b.opens_at)}.` : "This sale is not open yet.";
    case "ended":
      return "This sale has ended.";
    case "paused":
      return "The shop has paused this sale.";
    case "rate_limited":
    case "too_soon":
      return "That was quicker than the shop allows.";
    case "overloaded":
      return "More people are buying than the shop can serve at this moment.";
    case "unavailable":
      return "The shop cannot answer at this moment. Nothing was bought.";
    case "unknown_outcome":
      return "The shop has not confirmed your press yet.";
    case "network":
      return "No answer came back. The connection may be down.";
    case "unauthenticated":
      return "Your session has ended. Please sign in again.";
    case "blacklisted":
      return "This account or address may not buy here.";
    case "forbidden":
      return "This is not allowed for your account.";
    case "not_found":
      return "This is not here any more.";
    case "not_cancellable":
      return "This order cannot be paid or cancelled now. While it is in the queue, try again in a moment.";
    case "conflict":
      return "This name is taken. Choose another.";
    case "body_too_large":
    case "invalid_request":
      return firstFieldError(b) || problem.message || "The shop could not read this request.";
    default:
      return problem.message || "Something went wrong in the shop.";
  }
}

function firstFieldError(body) {
  const first = Array.isArray(body.errors) ? body.errors[0] : undefined;
  const reason = first && (first.reason || first.detail || first.message);
  if (!reason) return "";
  const field = String(first.field || first.pointer || "").split(".").pop();
  return field ? `${field}: ${reason}` : String(reason);
}

const formats = new Map();

/** A price from minor units: 1999, "CNY" -> "CN¥19.99" as the reader's language writes it. */
export function price(minor, currency) {
  try {
    if (!formats.has(currency)) formats.set(currency, new Intl.NumberFormat(undefined, { style: "currency", currency }));
    const format = formats.get(currency);
    return format.format(minor / 10 ** format.resolvedOptions().maximumFractionDigits);
  } catch {
    return `${(minor / 100).toFixed(2)} ${currency}`;
  }
}

export const count = (n) => new Intl.NumberFormat().format(n);
