package interceptor

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// countedDeadlines counts how often the system is told a deadline.
type countedDeadlines struct {
	net.Conn
	told int
}

func (c *countedDeadlines) SetReadDeadline(t time.Time) error {
	c.told++
	return c.Conn.SetReadDeadline(t)
}

func (c *countedDeadlines) SetWriteDeadline(t time.Time) error {
	c.told++
	return c.Conn.SetWriteDeadline(t)
}

var connBounds = Listener{ReadTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: 80 * time.Second} // read only

// inBubble runs a test with a connection, on a clock that goes on when everybody waits.
func inBubble(t *testing.T, test func(t *testing.T, c *clientConn, counted *countedDeadlines, client net.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ours, client := net.Pipe()
		counted := &countedDeadlines{Conn: ours}
		slots := make(chan struct{}, 1)
		slots <- struct{}{}
		c := newClientConn(counted, &connBounds, slots)
		defer client.Close()
		defer c.Close()
		test(t, c, counted, client)
	})
}

// exchangeOne serves one request that comes whole.
func exchangeOne(t *testing.T, c *clientConn, client net.Conn) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		_, err := client.Write([]byte("ask"))
		_, err2 := io.ReadFull(client, make([]byte, 6))
		done <- errors.Join(err, err2)
	}()
	if n, err := c.Read(make([]byte, 16)); n != 3 || err != nil {
		t.Fatalf("read %d, %v", n, err)
	}
	if n, err := c.Write([]byte("answer")); n != 6 || err != nil {
		t.Fatalf("wrote %d, %v", n, err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func expires(t *testing.T, c *clientConn, least, most time.Duration) {
	t.Helper()
	began := time.Now()
	_, err := c.Read(make([]byte, 16))
	if took := time.Since(began); !errors.Is(err, os.ErrDeadlineExceeded) || took < least || took > most {
		t.Errorf("%v after %s, want %s to %s", err, took, least, most)
	}
}

func TestFirstByteHasTheTimeOfARequest(t *testing.T) {
	inBubble(t, func(t *testing.T, c *clientConn, _ *countedDeadlines, _ net.Conn) {
		expires(t, c, connBounds.ReadTimeout, connBounds.ReadTimeout)
	})
}

// Who is told to go on with his request has the time of one, not that of a connection without.
func TestContinuedRequestHasTheTimeOfARequest(t *testing.T) {
	inBubble(t, func(t *testing.T, c *clientConn, _ *countedDeadlines, client net.Conn) {
		exchangeOne(t, c, client)
		go func() {
			_, _ = client.Write([]byte("ask"))
			_, _ = io.ReadFull(client, make([]byte, len(toContinue)))
		}()
		if _, err := c.Read(make([]byte, 16)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte(toContinue)); err != nil {
			t.Fatal(err)
		}
		expires(t, c, connBounds.ReadTimeout, connBounds.ReadTimeout)
	})
}

func TestRequestInPiecesHasOneDeadline(t *testing.T) {
	for _, first := range []bool{true, false} {
		inBubble(t, func(t *testing.T, c *clientConn, _ *countedDeadlines, client net.Conn) {
			if !first {
				exchangeOne(t, c, client)
				time.Sleep(time.Minute) // of the bubble's clock
			}
			stop := make(chan struct{})
			defer close(stop)
			go func() {
				for {
					select {
					case <-stop:
						return
					case <-time.After(time.Second):
						_, _ = client.Write([]byte("x")) // a byte a second, for ever
					}
				}
			}()
			if _, err := c.Read(make([]byte, 16)); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			var err error
			for err == nil {
				_, err = c.Read(make([]byte, 16))
			}
			if took := time.Since(began); !errors.Is(err, os.ErrDeadlineExceeded) || took != connBounds.ReadTimeout {
				t.Errorf("first %v: %v after %s", first, err, took)
			}
			_ = client.Close()
		})
	}
}

func TestIdleConnectionIsClosedInTime(t *testing.T) {
	inBubble(t, func(t *testing.T, c *clientConn, counted *countedDeadlines, client net.Conn) {
		for range 100 {
			exchangeOne(t, c, client)
		}
		if counted.told > 4 {
			t.Errorf("the system was told %d deadlines for 100 requests", counted.told)
		}
		for range 5 { // however often it was idle before
			time.Sleep(connBounds.IdleTimeout - time.Second)
			exchangeOne(t, c, client)
		}
		expires(t, c, connBounds.IdleTimeout, connBounds.IdleTimeout+connBounds.IdleTimeout/idleSlices)
	})
}

func TestIdleConnectionServesAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, c *clientConn, _ *countedDeadlines, client net.Conn) {
		exchangeOne(t, c, client)
		go func() {
			time.Sleep(connBounds.IdleTimeout - time.Second)
			_, _ = client.Write([]byte("ask"))
		}()
		if n, err := c.Read(make([]byte, 16)); n != 3 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	})
}

func TestAnswerThatNobodyTakesIsGivenUp(t *testing.T) {
	inBubble(t, func(t *testing.T, c *clientConn, _ *countedDeadlines, client net.Conn) {
		exchangeOne(t, c, client)
		time.Sleep(connBounds.WriteTimeout - time.Second) // a deadline of the answer before is about to strike
		began := time.Now()
		_, err := c.Write([]byte("nobody reads"))
		if took := time.Since(began); !errors.Is(err, os.ErrDeadlineExceeded) || took < connBounds.WriteTimeout || took > 2*connBounds.WriteTimeout {
			t.Errorf("%v after %s", err, took)
		}
	})
}

func TestAnswerGoesOnWhereItWasWhenAnOldDeadlineStrikes(t *testing.T) {
	inBubble(t, func(t *testing.T, c *clientConn, _ *countedDeadlines, client net.Conn) {
		exchangeOne(t, c, client)
		time.Sleep(connBounds.WriteTimeout - time.Second)
		read := make(chan string)
		go func() {
			first, rest := make([]byte, 2), make([]byte, 4)
			_, _ = io.ReadFull(client, first)
			time.Sleep(3 * time.Second) // the old deadline strikes with half of the answer on its way
			_, _ = io.ReadFull(client, rest)
			read <- string(first) + string(rest)
		}()
		if n, err := c.Write([]byte("answer")); n != 6 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		if got := <-read; got != "answer" {
			t.Errorf("read %q", got)
		}
	})
}

// Whoever takes the connection over is bounded by his own deadlines only.
func TestTimesCanBeHandedOver(t *testing.T) {
	inBubble(t, func(t *testing.T, c *clientConn, _ *countedDeadlines, client net.Conn) {
		exchangeOne(t, c, client)
		if err := c.SetDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		go func() {
			time.Sleep(time.Hour)
			_, _ = client.Write([]byte("late"))
		}()
		if n, err := c.Read(make([]byte, 16)); n != 4 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		if err := c.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		expires(t, c, time.Second, time.Second)
	})
}
