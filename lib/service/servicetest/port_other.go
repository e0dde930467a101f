//go:build !linux

package servicetest

import "net"

// reserve finds a port of the loopback interface that nobody listened on a moment ago.
func reserve() (address string, free func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	return listener.Addr().String(), func() {}, listener.Close()
}
