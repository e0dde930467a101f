// Package crowd is a bounded crowd of buyers over HTTP: tens of thousands of users over a few thousand
// kept-alive connections, some pressing twice at the same instant, each pressing again as told until
// there is a final answer. It records every answer.
//
// It knows the public HTTP API only, none of Headgate's code, and it presses on loopback addresses
// only: it is a test tool, not a weapon.
package crowd
