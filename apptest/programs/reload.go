package programs

import (
	"path/filepath"
	"syscall"
)

// ConfigFile is the config that the edge runs with.
func (e *Edge) ConfigFile() string { return filepath.Join(e.fleet.folder, e.name+".yaml") }

// Hangup asks the program to read its config again (SIGHUP).
func (p *Process) Hangup() error { return p.cmd.Process.Signal(syscall.SIGHUP) }

// Pause makes the process stand still, until Resume. It is resumed when the test ends.
func (p *Process) Pause() error {
	p.t.Cleanup(func() { _ = p.Resume() }) // runs before that which stops the process
	return p.cmd.Process.Signal(syscall.SIGSTOP)
}

// Resume lets it go on.
func (p *Process) Resume() error { return p.cmd.Process.Signal(syscall.SIGCONT) }
