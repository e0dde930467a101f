// Starts the page: the account, the clock, the sales and the orders.

import { onAccount, startAccount } from "./account.js";
import * as clock from "./clock.js";
import { byId, setText } from "./dom.js";
import { refreshOrders, startOrders } from "./orders.js";
import { refreshSales, tick } from "./sales.js";

function everySecond() {
  if (clock.known()) setText(byId("clock"), clock.clockText(clock.now()));
  tick();
  // The next beat falls on the shop's own second, so that a countdown never skips one.
  setTimeout(everySecond, 1000 - (clock.now() % 1000) + 5);
}

startOrders();
onAccount(() => {
  tick();
  refreshOrders();
});
refreshSales().finally(startAccount);
everySecond();
