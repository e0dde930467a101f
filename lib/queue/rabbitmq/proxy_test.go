package rabbitmq_test

import (
	"bytes"
	"net"
	"net/url"
	"sync"
	"testing"
)

// proxy stands between a client and the broker, and can be cut, closed to new connections, or made to
// withhold bytes in one direction.
type proxy struct {
	t        testing.TB
	target   string
	listener net.Listener
	running  sync.WaitGroup

	mu       sync.Mutex
	changed  *sync.Cond
	conns    map[net.Conn]bool
	refusing bool
	withheld map[direction]bool
	mutedBy  []byte // from this request on the broker says nothing any more but that it lives
	muted    bool
}

type direction int

const (
	toBroker direction = iota
	toClient
)

// newProxy gives a proxy for a broker's address, and the address through it.
func newProxy(t testing.TB, broker string) (p *proxy, address string) {
	t.Helper()
	u, err := url.Parse(broker)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p = &proxy{t: t, target: u.Host, listener: l, conns: map[net.Conn]bool{}, withheld: map[direction]bool{}}
	p.changed = sync.NewCond(&p.mu)
	p.running.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		p.heal()
		p.cut()
		p.running.Wait()
	})
	u.Host = l.Addr().String()
	return p, u.String()
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		refusing := p.refusing
		p.mu.Unlock()
		if refusing {
			_ = client.Close()
			continue
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.conns[client], p.conns[server] = true, true
		p.mu.Unlock()
		p.running.Go(func() { p.pipe(toBroker, server, client) })
		p.running.Go(func() { p.pipe(toClient, client, server) })
	}
}

func (p *proxy) pipe(d direction, to, from net.Conn) {
	defer func() {
		_ = to.Close()
		_ = from.Close()
		p.mu.Lock()
		delete(p.conns, to)
		delete(p.conns, from)
		p.mu.Unlock()
	}()
	buffer := make([]byte, 4096)
	for {
		n, err := from.Read(buffer)
		p.mu.Lock()
		if d == toBroker && p.mutedBy != nil && bytes.Contains(buffer[:n], p.mutedBy) {
			p.muted = true
		}
		if d == toClient && p.muted {
			n = copy(buffer, "\x08\x00\x00\x00\x00\x00\x00\xce") // a heartbeat
		}
		for p.withheld[d] && p.conns[to] {
			p.changed.Wait()
		}
		alive := p.conns[to]
		p.mu.Unlock()
		if n > 0 && alive {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil || !alive {
			return
		}
	}
}

// cut ends every connection; what was withheld is lost.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
		delete(p.conns, c)
	}
	p.changed.Broadcast()
}

// refuse ends every connection and lets no new one through until heal.
func (p *proxy) refuse() {
	p.mu.Lock()
	p.refusing = true
	p.mu.Unlock()
	p.cut()
}

// withhold stops the bytes of one direction until heal.
func (p *proxy) withhold(d direction) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.withheld[d] = true
}

// mute lets the broker fall silent from a request on, but for its heartbeats. A request is known by its
// class and method.
func (p *proxy) mute(class, method byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mutedBy = []byte{0, class, 0, method}
}

func (p *proxy) isMuted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.muted
}

func (p *proxy) heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mutedBy, p.muted = nil, false
	p.refusing = false
	clear(p.withheld)
	p.changed.Broadcast()
}
