// Package measure is what the benchmark programs share: it starts the servers that are compared, reads
// what they used of the machine, and sums runs up. It knows none of the servers.
package measure
