package voters

import "syscall"

// processAttributes lets a program end with the test, even when the test is killed.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
