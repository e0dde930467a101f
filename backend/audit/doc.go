// Package audit compares the counter with the ledger: the sums that must balance, and then every order
// id on both sides.
//
//	counter, each shard:  alloc + taken - given = scheduled + available + held + confirmed
//	ledger, each sale:    sold = units of active orders = units in the journal <= ceiling
//	across:               an active order <=> a confirmed hold with the same binding
//
// It works on a running system. A difference of a moment is normal while messages travel, so what
// differs is read again, in an order that makes the second look conclusive (see recheck.go): only a
// difference that nothing on its way can explain is a violation.
//
// The package only reads. It must not know HTTP, or how its report is shown.
package audit
