// Package rehearse is `headgate rehearse`: it lets a crowd that is drawn from a seed press on a running
// deployment, breaks its parts meanwhile if asked to, and judges from the outside what came of it.
//
// A rehearsal has five parts, each in files of its own:
//
//   - plan: Draw turns a Spec, a seed and the names of the parts into a Plan: who presses when, what each
//     buyer does with a yes, and which part is broken when. It is pure: the same seed, the same plan.
//   - crowd: the open-loop sender. Buyers press when the plan says so, not when the system has time for
//     them; one goroutine owns all buyers and a bounded number of senders carries their requests.
//   - buyer: what one buyer does with an answer. Pure.
//   - faults: carries out the planned faults over a cluster's control socket, and heals them.
//   - evidence, verdict: what was seen from outside (the answers, the ledger's rows, the counter's holds
//     and its audit), and Judge, a pure function that says what of it must not be.
//
// The package owns no rule of the layers. It knows the HTTP API as a buyer knows it, the operator's API
// and the audit through package cli, and a cluster by its control socket only. It reads no flag and no
// environment.
package rehearse
