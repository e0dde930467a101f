//go:build !simbroken_refuse

package simulation

// readAhead would refuse, and answer collects, from entries that are not committed.
const readAhead = false
