// Package queuetest holds what tests of the queue contract share: Run, the conformance suite that every
// driver passes, and Faulty, a decorator that plays scripted faults for tests of publishers and
// consumers. It is for tests only.
package queuetest
