package peers

import (
	"net"
	"sync"
	"testing"
	"time"
)

// busyConn is a connection beside which somebody else has one more frame by the time a record is written.
type busyConn struct {
	net.Conn
	written func()
}

func (c *busyConn) Write(b []byte) (int, error) {
	c.written()
	return len(b), nil
}

// Whoever writes for the others does so for a while, and not for as long as there are others.
func TestNobodyWritesForOthersForLong(t *testing.T) {
	conn := &busyConn{}
	var helpers sync.WaitGroup
	o := newOutbox(conn, testSealer(t, recordKey), &helpers)
	through, records := make(chan struct{}), 0
	conn.written = func() { // one after the other
		switch records++; records {
		case 4 * maxRounds:
			return // nobody has more
		case 2 * maxRounds:
			select {
			case <-through:
			case <-time.After(30 * time.Second):
				t.Error("the first writer still writes for others")
			}
		}
		_, _ = o.leave(framePing, 0, []byte("x"))
	}
	if err := o.post(framePing, 0, []byte("first")); err != nil {
		t.Fatal(err)
	}
	close(through)
	helpers.Wait()
	if records != 4*maxRounds {
		t.Errorf("%d records were written, want %d", records, 4*maxRounds)
	}
}
