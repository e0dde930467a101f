// Package salestate is this node's copy of the sales' state at the counter, fetched a few times a
// second, and what may be refused from it: not open yet, ended, paused, sold out. It refuses only
// what it knows: a state that is too old says so, and sold_out is believed no longer than a moment.
// It also keeps this node's offset from the counter's clock.
//
// Times named mono are nanoseconds of the node's monotonic clock; wall times are milliseconds since
// 1970. It must not know HTTP.
package salestate
