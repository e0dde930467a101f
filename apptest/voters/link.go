package voters

import (
	"errors"
	"io"
	"net"
	"strings"
	"sync"
)

// links is the network between the voters: one proxy before each one's raft port. A proxy reads who
// dials from the first line, so that any pair can be cut, in one direction or both.
type links struct {
	mu    sync.Mutex
	cut   map[[2]string]bool // from, to
	open  map[net.Conn][2]string
	doors []net.Listener
	work  sync.WaitGroup
	ended bool
}

func newLinks() *links {
	return &links{cut: make(map[[2]string]bool), open: make(map[net.Conn][2]string)}
}

// door opens the proxy before a voter's raft port.
func (l *links) door(address, to, raft string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	l.doors = append(l.doors, listener)
	l.work.Go(func() {
		for {
			nc, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				l.work.Go(func() { l.pass(nc, to, raft) })
			}
		}
	})
	return nil
}

const maxGreeting = 1024

func (l *links) pass(in net.Conn, to, raft string) {
	defer in.Close()
	if !l.track(in, [2]string{"", to}) {
		return
	}
	defer l.untrack(in)
	var hello []byte
	for b := make([]byte, 1); len(hello) == 0 || hello[len(hello)-1] != '\n'; hello = append(hello, b[0]) {
		if _, err := in.Read(b); err != nil || len(hello) > maxGreeting {
			return
		}
	}
	words := strings.Fields(string(hello))
	if len(words) < 6 || !l.track(in, [2]string{words[5], to}) {
		return
	}
	out, err := net.Dial("tcp", raft)
	if err != nil {
		return
	}
	defer out.Close()
	if !l.track(out, [2]string{words[5], to}) {
		return
	}
	defer l.untrack(out)
	if _, err := out.Write(hello); err != nil {
		return
	}
	back := make(chan struct{})
	go func() {
		defer close(back)
		_, _ = io.Copy(in, out)
		in.Close()
	}()
	_, _ = io.Copy(out, in)
	out.Close()
	<-back
}

// track keeps a connection, unless its way is cut.
func (l *links) track(nc net.Conn, way [2]string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended || l.cut[way] {
		return false
	}
	l.open[nc] = way
	return true
}

func (l *links) untrack(nc net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, nc)
}

// set cuts or mends a way, and ends what is open on it.
func (l *links) set(from, to string, cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	way := [2]string{from, to}
	l.cut[way] = cut
	for nc, its := range l.open {
		if cut && its == way {
			nc.Close()
		}
	}
}

func (l *links) close() {
	l.mu.Lock()
	l.ended = true
	for _, d := range l.doors {
		d.Close()
	}
	for nc := range l.open {
		nc.Close()
	}
	l.mu.Unlock()
	l.work.Wait()
}
