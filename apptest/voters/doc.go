// Package voters runs the counter's real program as the voters of one shard or several: it configures them, begins
// their log, kills, pauses and cuts them off, and speaks RESP to them. It serves tests and benchmarks,
// so it needs no testing.TB.
//
// It knows the program from outside only: config file, flags, RESP, and the first line of the voters'
// own connections, which names who dials.
package voters
