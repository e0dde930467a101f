package counter

import (
	"net"
	"sync"
)

// loops share the connections of a server. nil has none, and takes none.
type loops struct {
	all     []*loop
	next    int // of accept's goroutine
	running sync.WaitGroup
}

func startLoops(s *Server, n int) (*loops, error) {
	ls := &loops{}
	for range n {
		l, err := newLoop(s)
		if err != nil {
			ls.stop()
			return nil, err
		}
		ls.all = append(ls.all, l)
		ls.running.Go(l.run)
	}
	return ls, nil
}

// take gives a connection to a loop; false when it needs a goroutine of its own.
func (ls *loops) take(nc net.Conn) (bool, error) {
	tcp, ok := nc.(*net.TCPConn)
	if ls == nil || len(ls.all) == 0 || !ok {
		return false, nil
	}
	ls.next = (ls.next + 1) % len(ls.all)
	return true, ls.all[ls.next].take(tcp)
}

// stop ends the loops, which have no members any more, and waits for them.
func (ls *loops) stop() {
	if ls == nil {
		return
	}
	for _, l := range ls.all {
		l.stop()
	}
	ls.running.Wait()
}
