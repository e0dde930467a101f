// Package wire is the network between two programs under test: a TCP proxy whose connections can be cut,
// refused, or cut at the very moment when certain bytes pass. It knows no protocol.
package wire

import (
	"bytes"
	"net"
	"sync"
)

// Wire leads to one address. Its methods are safe for concurrent use.
type Wire struct {
	target   string
	listener net.Listener
	running  sync.WaitGroup

	mu       sync.Mutex
	conns    map[net.Conn]bool
	refusing bool
	trap     *trap
}

// trap waits for pieces of bytes on their way to the target, one after the other on one connection.
type trap struct {
	pieces [][]byte
	passed map[net.Conn]int // pieces that have passed, by the target's end
	done   chan struct{}
}

// springs tells whether the last piece passes with these bytes.
func (t *trap) springs(to net.Conn, text []byte) bool {
	if bytes.Contains(text, t.pieces[t.passed[to]]) {
		t.passed[to]++
	}
	return t.passed[to] == len(t.pieces)
}

// New opens a Wire to an address.
func New(target string) (*Wire, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &Wire{target: target, listener: l, conns: map[net.Conn]bool{}}
	w.running.Go(w.accept)
	return w, nil
}

// Addr is where to dial instead of the target.
func (w *Wire) Addr() string { return w.listener.Addr().String() }

// Close cuts everything and waits until all is quiet.
func (w *Wire) Close() {
	_ = w.listener.Close()
	w.Refuse()
	w.running.Wait()
}

// Cut ends every connection; new ones may be made.
func (w *Wire) Cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut()
}

func (w *Wire) cut() {
	for c := range w.conns {
		_ = c.Close()
	}
	clear(w.conns)
}

// Refuse ends every connection and lets no new one through until Heal.
func (w *Wire) Refuse() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refusing = true
	w.cut()
}

// Heal ends Refuse.
func (w *Wire) Heal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refusing = false
}

// CutAfter waits until these pieces have passed to the target, in this order, on one connection, each in
// a write of its own. The last one still arrives; then, before any answer can come back, everything is cut
// and refused, and the channel is closed. A later call replaces an earlier one.
func (w *Wire) CutAfter(pieces ...string) <-chan struct{} {
	t := &trap{passed: map[net.Conn]int{}, done: make(chan struct{})}
	for _, piece := range pieces {
		t.pieces = append(t.pieces, []byte(piece))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trap = t
	return t.done
}

func (w *Wire) accept() {
	for {
		client, err := w.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", w.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		w.mu.Lock()
		if w.refusing {
			_, _ = client.Close(), server.Close()
			w.mu.Unlock()
			continue
		}
		w.conns[client], w.conns[server] = true, true
		w.running.Go(func() { w.pipe(server, client, true) })
		w.running.Go(func() { w.pipe(client, server, false) })
		w.mu.Unlock()
	}
}

// pipe passes bytes on until one end closes.
func (w *Wire) pipe(to, from net.Conn, forth bool) {
	defer func() {
		_, _ = to.Close(), from.Close()
		w.mu.Lock()
		delete(w.conns, to)
		delete(w.conns, from)
		w.mu.Unlock()
	}()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 && !w.pass(to, buffer[:n], forth) {
			return
		}
		if err != nil {
			return
		}
	}
}

func (w *Wire) pass(to net.Conn, piece []byte, forth bool) bool {
	w.mu.Lock()
	trap := w.trap
	sprung := forth && trap != nil && trap.springs(to, piece)
	if sprung {
		w.trap = nil
		defer w.mu.Unlock() // no answer passes meanwhile: it would need the lock
	} else {
		alive := w.conns[to]
		w.mu.Unlock()
		if !alive {
			return false
		}
	}
	_, err := to.Write(piece)
	if sprung {
		w.refusing = true
		w.cut()
		close(trap.done)
		return false
	}
	return err == nil
}
