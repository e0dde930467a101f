package programs

import (
	"path/filepath"
	"syscall"
)

// ConfigFile is the config that the edge runs with.
func (e *Edge) ConfigFile() string { return filepath.Join(e.fleet.folder, e.name+".yaml") }

// Hangup asks the program to read its config again (SIGHUP).
func (p *Process) Hangup() error { return p.cmd.Process.Signal(syscall.SIGHUP) }
