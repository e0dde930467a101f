package service

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// Listen binds a TCP address that a field of the config names. Its errors say what to do.
func Listen(field, address string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	switch {
	case err == nil:
		return listener, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s: %s is taken by another program: stop that one, or change the address in the config: %w", field, address, syscall.EADDRINUSE)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("%s: %s is no address of this machine: give one of its own, or 0.0.0.0 for all: %w", field, address, syscall.EADDRNOTAVAIL)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("%s: %s needs a right that this user does not have: take a port from 1024 on: %w", field, address, syscall.EACCES)
	}
	return nil, fmt.Errorf("%s: cannot listen on %s: %w", field, address, err)
}
