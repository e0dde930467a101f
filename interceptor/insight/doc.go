// Package insight remembers what an operator asks of a running edge: why somebody was refused, what was
// refused of late, and who talks most. It is bounded, forgets the oldest, and is lost with the process.
//
// It stands on the path of every refusal: recording allocates nothing, waits for nobody, and leaves out
// what it cannot record at once. See DESIGN.md.
//
// It must not know HTTP, nor what the codes mean.
package insight
