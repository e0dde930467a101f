// Package store is the ledger: users, sales and their change log, orders, the stock journal, the
// outbox of units to give back to the counter, payments and refunds, dead letters and parked messages, in MySQL (or
// MariaDB) or SQLite through one set of GORM models and one migration folder per dialect.
//
// It owns the rules by which an accepted order becomes a row (WriteOrders) and by which a unit
// becomes free again (CancelOrder, CancelDue, CancelDueOrders, a rejection), or paid (ReceivePayment): state, journal, outbox and the sale's
// sold count change in one transaction. DESIGN.md in this folder gives the tables, the transaction
// rules and the lock order. It must not know a queue, a counter or an HTTP request: callers confirm
// holds before they write orders, and deliver outbox rows themselves.
package store
