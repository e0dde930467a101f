// Package apptest tests Headgate from outside: whole programs as separate processes, real services, a
// real browser, a crowd over HTTP, kill -9 in the middle of the work. It imports none of Headgate's
// modules: what it knows, a customer or an operator can know. Its oracle is the ledger itself, read
// with plain SQL, beside the programs' own audit.
//
// Its packages are the tools: programs starts and ends processes, crowd presses buttons, ledger reads
// the database, ports gives them all their ports, services (and cmd/services) starts private brokers and databases, cluster (and
// cmd/cluster) runs everything on one machine, for people and rehearsals, too, measure is what the
// benchmark programs (cmd/edgebench, cmd/counterbench, cmd/clusterbench) share.
//
// Tests that claim nothing of how soon or how often something happens run beside each other (t.Parallel): most of their time
// they wait. All others have the machine to themselves.
package apptest
