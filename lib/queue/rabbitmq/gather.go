package rabbitmq

import (
	"net"
	"sync"
	"time"
)

// gatherBytes bounds what waits to be written to a socket; writers wait at the bound.
const gatherBytes = 256 << 10

// gathering writes to a connection what was handed to it while the write before was under way, in one
// piece: the client flushes each message by itself, and a system call for each costs the broker more
// than the message. Each write has a deadline, since the client's writes know no context. An error
// shows at a later Write or at the reader, whose connection is closed; what was handed over by then may
// have been sent or not, which is what the client's own buffer means already.
type gathering struct {
	net.Conn
	written chan struct{} // closed when the writer has ended

	mu      sync.Mutex
	changed *sync.Cond // on mu: pending, closed or err
	pending []byte
	closed  bool
	err     error
}

func gather(conn net.Conn) *gathering {
	g := &gathering{Conn: conn, written: make(chan struct{})}
	g.changed = sync.NewCond(&g.mu)
	go g.write()
	return g
}

// Write takes bytes for writing.
func (g *gathering) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.pending) > 0 && len(g.pending)+len(b) > gatherBytes && g.err == nil && !g.closed {
		g.changed.Wait()
	}
	switch {
	case g.err != nil:
		return 0, g.err
	case g.closed:
		return 0, net.ErrClosed
	}
	g.pending = append(g.pending, b...)
	g.changed.Broadcast()
	return len(b), nil
}

// Close gives what is pending a moment to be written, and closes the connection.
func (g *gathering) Close() error {
	g.mu.Lock()
	g.closed = true
	g.changed.Broadcast()
	g.mu.Unlock()
	patience := time.NewTimer(closeWithin)
	defer patience.Stop()
	select {
	case <-g.written:
	case <-patience.C:
	}
	err := g.Conn.Close()
	<-g.written
	return err
}

// write writes until the connection is closed or fails.
func (g *gathering) write() {
	defer close(g.written)
	var spare []byte
	for {
		g.mu.Lock()
		for len(g.pending) == 0 && !g.closed {
			g.changed.Wait()
		}
		batch := g.pending
		g.pending = spare[:0]
		g.changed.Broadcast()
		g.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		err := g.SetWriteDeadline(time.Now().Add(writeWithin))
		if err == nil {
			_, err = g.Conn.Write(batch)
		}
		if err != nil {
			g.mu.Lock()
			g.err = err
			g.changed.Broadcast()
			g.mu.Unlock()
			_ = g.Conn.Close() // its reader notices
			return
		}
		spare = batch
	}
}
