package servicetest

import (
	"errors"
	"net"
	"syscall"
	"testing"
)

// While a test has a free port, it counts as taken for all but those who name it and reuse addresses.
func TestFreePortIsGivenToNobodyElse(t *testing.T) {
	listen := func(address string) error {
		strict := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 0) })
		}}
		listener, err := strict.Listen(t.Context(), "tcp", address)
		if err != nil {
			return err
		}
		return listener.Close()
	}
	var address string
	t.Run("a test that has it", func(t *testing.T) {
		address = FreePort(t)
		if err := listen(address); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("somebody else asks for it: %v, want that it is in use", err)
		}
	})
	if err := listen(address); err != nil {
		t.Errorf("after the test's end: %v", err)
	}
}
