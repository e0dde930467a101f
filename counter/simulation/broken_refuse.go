//go:build simbroken_refuse

package simulation

// readAhead refuses, and answers collects, from entries that are not committed: wrong on purpose.
const readAhead = true
