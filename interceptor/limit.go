package interceptor

import (
	"bytes"
	"io"
	"net"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"headgate.example/lib/auth"
	"headgate.example/lib/problem"
)

// Bounds of turning a connection away.
const (
	maxFarewells     = 256         // turned away with patience at once; further ones are told without waiting
	farewellPatience = time.Second // for the request that a client sends, and again for his end
	farewellBytes    = 64 << 10    // of what he goes on to send that are read, so that he sees the answer
)

// limitedListener hands out so many connections at once. Further ones are accepted, told overloaded,
// and closed: left in the system's queue, as a layer behind an edge would leave them, a crowd would
// wait for connections that others keep open, run into time-outs, and not know what came of its orders.
type limitedListener struct {
	net.Listener
	bounds Listener
	slots  chan struct{}
	answer func() []byte // a whole response

	mu        sync.Mutex
	closed    bool
	farewells int
	group     sync.WaitGroup
}

func newLimitedListener(l net.Listener, bounds Listener, answer func() []byte) *limitedListener {
	return &limitedListener{Listener: l, slots: make(chan struct{}, bounds.MaxConnections), bounds: bounds, answer: answer}
}

// Accept gives the next connection that there is room for.
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.slots <- struct{}{}:
			return newClientConn(conn, &l.bounds, l.slots), nil
		default:
			l.turnAway(conn)
		}
	}
}

// turnAway answers and closes a connection. It does not block: the next one may have room.
func (l *limitedListener) turnAway(conn net.Conn) {
	answer := l.answer()
	l.mu.Lock()
	patient := !l.closed && l.farewells < maxFarewells
	if patient {
		l.farewells++
		l.group.Go(func() {
			defer func() {
				l.mu.Lock()
				defer l.mu.Unlock()
				l.farewells--
			}()
			bidFarewell(conn, answer)
		})
	}
	l.mu.Unlock()
	if !patient {
		_ = conn.SetWriteDeadline(time.Now().Add(farewellPatience)) // an empty buffer takes it at once
		_, _ = conn.Write(answer)
		_ = conn.Close()
	}
}

// bidFarewell lets the client speak first, since one that has not asked yet takes an answer for a
// fault, and reads what he sends after it, since closing earlier would reset the connection and lose
// the answer on its way.
func bidFarewell(conn net.Conn, answer []byte) {
	defer conn.Close() //nolint:errcheck // there is nobody to tell
	_ = conn.SetDeadline(time.Now().Add(farewellPatience))
	_, _ = conn.Read(make([]byte, 2048))
	_ = conn.SetDeadline(time.Now().Add(farewellPatience))
	if _, err := conn.Write(answer); err != nil {
		return
	}
	if half, ok := conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_, _ = io.CopyN(io.Discard, conn, farewellBytes)
	}
}

// Close stops accepting. Connections that were handed out stay.
func (l *limitedListener) Close() error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	return l.Listener.Close()
}

// wait waits for connections that are being turned away, 2 s at most. It is called after Close.
func (l *limitedListener) wait() { l.group.Wait() }

// fullAnswer is the response to a connection that there is no room for.
func (s *Server) fullAnswer() []byte {
	p := problem.New(problem.Overloaded, "This node has no room for more connections at the moment.")
	p.RetryAfter = jitter(1)
	var resp fasthttp.Response
	setProblem(&resp, p, nil)
	var x exchange
	x.nameRequest(s.process, s.requests.Add(1))
	resp.Header.SetBytesV(auth.HeaderRequestID, x.id[:])
	resp.SetConnectionClose()
	var text bytes.Buffer
	_, _ = resp.WriteTo(&text) // a buffer takes everything
	s.figures.count(s.figures.none, string(p.Code), p.Status, 0)
	return text.Bytes()
}
