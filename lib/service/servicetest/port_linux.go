package servicetest

import (
	"fmt"
	"syscall"
)

// reserve takes a port of the loopback interface that the system gives to nobody else until free is called. A
// socket that is bound and does not listen lets those in who name the port and, as Go's listeners do, reuse
// addresses; whom the system is to find a port for gets another.
func reserve() (address string, free func(), err error) {
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", nil, fmt.Errorf("socket: %w", err)
	}
	free = func() { _ = syscall.Close(socket) }
	if err := syscall.SetsockoptInt(socket, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		free()
		return "", nil, fmt.Errorf("reusing addresses: %w", err)
	}
	if err := syscall.Bind(socket, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		free()
		return "", nil, fmt.Errorf("bind: %w", err)
	}
	bound, err := syscall.Getsockname(socket)
	if err != nil {
		free()
		return "", nil, fmt.Errorf("the port that was bound: %w", err)
	}
	return fmt.Sprintf("127.0.0.1:%d", bound.(*syscall.SockaddrInet4).Port), free, nil
}
