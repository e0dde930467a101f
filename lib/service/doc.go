// Package service is what every program does around its work: flags, configuration, logs, metrics,
// health, the admin port, signals and an orderly end.
//
// A program describes itself by a Spec, and its main is one line:
//
//	func main() { os.Exit(service.Main(spec, os.Args[1:], os.Stdout, os.Stderr)) }
//
// A program is for production unless its config says `service.mode: development`: then secrets that can be guessed
// are refused before anything is opened (config.CheckSecrets).
//
// Each layer gets a Runtime: its name, logger, metrics and health. Several layers in one process have
// a Runtime each and share one Admin.
//
// The order of stopping, and why:
//
//  1. The first SIGTERM or SIGINT turns health red, so that balancers send no new work here.
//  2. The context of Program.Run ends: the program stops taking new work, finishes what it has taken
//     within drain_for, since callers wait for those answers, and only then closes its stores.
//  3. The admin port closes last: until then /readyz, /metrics and /debug/pprof tell how the drain goes.
//  4. A program that is not done drain_for plus five seconds after the signal is given up (exit 1). A
//     second signal ends the process at once (exit 130).
//
// The package must not know what a program does.
package service
