// Package storetest has the conformance suite of the ledger, which every database passes, and what
// tests of the programs need of it: a private ledger on SQLite or MariaDB, and a check that a sale's
// figures agree with its rows.
package storetest
