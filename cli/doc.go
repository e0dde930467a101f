// Package cli is the program `headgate` as a library: all layers in one process (Dev), and what an
// operator does with a running system: sales and bans through the backend's admin API, tokens for
// rehearsals, the audit, checks of config files, the shares of the ring.
//
// It may use every layer and owns none of their rules. Flags and the environment are read in
// cmd/headgate only.
package cli
