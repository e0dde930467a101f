// Package ports finds ports for the programs of a test: free ones, which nobody else is given until the test is over,
// also while the program that has one is dead.
package ports

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// The ports lie below those that the system gives to clients (from 32768 on), so that a program which was killed finds
// its port free again, whatever connects meanwhile; and apart from those of apptest/cluster's shifts in the tests.
const (
	low, high = 18_000, 25_000
	tries     = 2000
)

// Reserve gives so many free addresses of the loopback interface, as host:port. release gives them up; no other Reserve
// gives any of them before, in this process or another one: each is marked by a UDP socket on the same port.
func Reserve(count int) (addresses []string, release func(), err error) {
	var marks []net.PacketConn
	release = func() {
		for _, mark := range marks {
			_ = mark.Close()
		}
	}
	for range tries {
		if len(addresses) == count {
			return addresses, release, nil
		}
		address := fmt.Sprintf("127.0.0.1:%d", low+rand.IntN(high-low))
		mark, err := net.ListenPacket("udp", address)
		if err != nil {
			continue
		}
		listener, err := net.Listen("tcp", address)
		if err != nil {
			_ = mark.Close()
			continue
		}
		_ = listener.Close()
		marks, addresses = append(marks, mark), append(addresses, address)
	}
	release()
	return nil, nil, errors.New("no free ports")
}
