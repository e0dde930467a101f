package rabbitmq

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// TestGathering: nothing is lost, doubled or reordered, and what comes while a write is under way goes
// out in one piece.
func TestGathering(t *testing.T) {
	ours, theirs := net.Pipe() // a write ends when it was read
	counted := &countingConn{Conn: ours}
	g := gather(counted)
	var want []byte
	for i := range 1000 {
		piece := bytes.Repeat([]byte{byte(i)}, 1+i%100)
		want = append(want, piece...)
		if n, err := g.Write(piece); n != len(piece) || err != nil {
			t.Fatalf("write %d: %d, %v", i, n, err)
		}
	}
	got := make(chan []byte)
	go func() {
		all, _ := io.ReadAll(theirs)
		got <- all
	}()
	if err := g.Close(); err != nil { // what is pending goes out first
		t.Fatal(err)
	}
	if all := <-got; !bytes.Equal(all, want) {
		t.Errorf("%d bytes came, want %d, the same", len(all), len(want))
	}
	if counted.writes > 10 {
		t.Errorf("%d writes for what came while the first was under way", counted.writes)
	}
	if _, err := g.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after the close: %v", err)
	}
}

// TestGatheringBound: whoever writes more than the bound waits for the socket, and learns of its loss.
func TestGatheringBound(t *testing.T) {
	ours, theirs := net.Pipe()
	g := gather(ours)
	failed := make(chan error)
	go func() {
		piece := make([]byte, gatherBytes/4)
		for range 20 {
			if _, err := g.Write(piece); err != nil {
				failed <- err
				return
			}
		}
		failed <- nil
	}()
	select {
	case err := <-failed:
		t.Fatalf("nobody reads, and yet all was taken: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	_ = theirs.Close()
	if err := <-failed; err == nil {
		t.Error("the lost socket shows to nobody")
	}
	_ = g.Close()
}

// countingConn is used by one writer.
type countingConn struct {
	net.Conn
	writes int
}

func (c *countingConn) Write(b []byte) (int, error) {
	c.writes++
	return c.Conn.Write(b)
}
