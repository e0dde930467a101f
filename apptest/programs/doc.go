// Package programs runs Headgate's real programs for tests: it finds or builds the binaries, writes
// their config files on free ports, starts them, waits until they are ready, ends them gently or with
// kill -9, and leaves nothing behind. Logs are kept when a test fails.
//
// It knows the programs from outside only: flags, config files, ports and exit codes.
package programs
