//go:build unix

package proxy

import (
	"errors"
	"syscall"
)

// quiet reports whether a connection that nothing is expected from is open and nothing has come. It
// does not wait. Bytes that nobody asked for would be taken for the next answer.
func quiet(raw syscall.RawConn) bool {
	open := false
	err := raw.Control(func(fd uintptr) {
		var one [1]byte
		_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		open = errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR)
	})
	return err == nil && open
}
