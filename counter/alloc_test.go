//go:build !race

package counter

import (
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"headgate.example/lib/service"
	"headgate.example/lib/service/servicetest"
)

// wire is a connection that always has the same requests to read, and takes every reply.
type wire struct {
	net.Conn
	requests []byte
	replies  int // bytes
}

func (w *wire) Read(b []byte) (int, error)       { return copy(b, w.requests), nil }
func (w *wire) Write(b []byte) (int, error)      { w.replies += len(b); return len(b), nil }
func (w *wire) RemoteAddr() net.Addr             { return nil }
func (w *wire) LocalAddr() net.Addr              { return nil }
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }

// A refused request allocates nothing, from its bytes to those of its reply.
func TestRefusedRequestsAllocateNothing(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Listen, cfg.RaftListen, cfg.DataDir, cfg.Bootstrap = "127.0.0.1:0", "", filepath.Join(t.TempDir(), "counter"), true
	s, err := Open(t.Context(), cfg, service.NewRuntime("counter", servicetest.Log(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // the test is over
	servicetest.Eventually(t, 30*time.Second, "the counter leads", func() bool { return s.Ready() == nil })

	const terms = `{"id":"1","revision":1,"stock":0,"limit":1,"opens_at":1,"hold_for_ms":30000,"retain_for_ms":86400000,"shards":["s1"],"ring":{"partitions":271,"replicas":100,"load":1.05}}`
	w := &wire{}
	c := newHandler(s, w)
	serve := func() {
		if !c.read() {
			t.Fatal("the connection is over")
		}
		c.pipeline()
		c.settle()
		if err := c.out.Flush(); err != nil && err != io.EOF {
			t.Fatal(err)
		}
	}
	for _, request := range []string{"SALE.OPEN '" + terms + "'\r\n", "SALE.RESUME 1 2\r\n"} {
		w.requests = []byte(request)
		serve()
	}

	const pipelined = 16
	w.requests = nil
	for range pipelined {
		w.requests = append(w.requests, "*5\r\n$7\r\nRESERVE\r\n$1\r\n1\r\n$13\r\nu000000000001\r\n$1\r\n1\r\n$0\r\n\r\n"...)
	}
	serve() // what is allocated once
	before := s.meter.refused.Get()
	w.replies = 0
	const runs = 2000
	if n := testing.AllocsPerRun(runs, serve); n != 0 {
		t.Errorf("%v allocations for %d refused requests", n, pipelined)
	}
	if got := s.meter.refused.Get() - before; got != (runs+1)*pipelined {
		t.Errorf("%d requests were refused from memory", got)
	}
	if want := (runs + 1) * pipelined * len("*2\r\n$8\r\nsold_out\r\n:0\r\n"); w.replies != want {
		t.Errorf("%d bytes of replies, want %d", w.replies, want)
	}
}
