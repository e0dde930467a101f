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
	reads, writes int
}

func (c *countedDeadlines) SetReadDeadline(t time.Time) error {
	c.reads++
	return c.Conn.SetReadDeadline(t)
}

func (c *countedDeadlines) SetWriteDeadline(t time.Time) error {
	c.writes++
	return c.Conn.SetWriteDeadline(t)
}

func pipe(t *testing.T) (*clientConn, *countedDeadlines, net.Conn) {
	t.Helper()
	ours, theirs := net.Pipe()
	counted := &countedDeadlines{Conn: ours}
	slots := make(chan struct{}, 1)
	slots <- struct{}{}
	c := newClientConn(counted, slots)
	t.Cleanup(func() { _, _ = c.Close(), theirs.Close() })
	return c, counted, theirs
}

func TestReadEndsAtItsDeadlineHoweverManyCameBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, counted, _ := pipe(t)
		start := time.Now()
		for i := range 100 { // as with each request: the idle time, then the time to read
			_ = c.SetReadDeadline(start.Add(75*time.Second + time.Duration(i)*time.Millisecond))
			_ = c.SetReadDeadline(start.Add(5*time.Second + time.Duration(i)*time.Millisecond))
		}
		if counted.reads > 2 {
			t.Errorf("the system was told %d times", counted.reads)
		}
		_, err := c.Read(make([]byte, 1))
		if took := time.Since(start); !errors.Is(err, os.ErrDeadlineExceeded) || took != 5*time.Second+99*time.Millisecond {
			t.Errorf("%v after %s", err, took)
		}
		_ = c.SetReadDeadline(time.Now().Add(75 * time.Second))
		idle := time.Now()
		_, err = c.Read(make([]byte, 1))
		if took := time.Since(idle); !errors.Is(err, os.ErrDeadlineExceeded) || took != 75*time.Second {
			t.Errorf("%v after %s", err, took)
		}
		_ = c.SetReadDeadline(time.Now().Add(time.Second)) // earlier than what is armed
		soon := time.Now()
		_, err = c.Read(make([]byte, 1))
		if took := time.Since(soon); !errors.Is(err, os.ErrDeadlineExceeded) || took != time.Second {
			t.Errorf("%v after %s", err, took)
		}
	})
}

func TestReadGoesOnWhenAnEarlierDeadlineStrikes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, theirs := pipe(t)
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		_ = c.SetReadDeadline(time.Now().Add(time.Minute))
		go func() {
			time.Sleep(30 * time.Second) // of the bubble's clock
			_, _ = theirs.Write([]byte("x"))
		}()
		got := make([]byte, 8)
		if n, err := c.Read(got); err != nil || string(got[:n]) != "x" {
			t.Errorf("%q, %v", got[:n], err)
		}
		_ = c.SetReadDeadline(time.Time{}) // none
		go func() {
			time.Sleep(time.Hour)
			_, _ = theirs.Write([]byte("y"))
		}()
		if n, err := c.Read(got); err != nil || string(got[:n]) != "y" {
			t.Errorf("%q, %v", got[:n], err)
		}
	})
}

func TestWriteGoesOnWhereItWasWhenAnEarlierDeadlineStrikes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, counted, theirs := pipe(t)
		for i := range 100 {
			_ = c.SetWriteDeadline(time.Now().Add(10*time.Second + time.Duration(i)*time.Millisecond))
		}
		_ = c.SetWriteDeadline(time.Now().Add(20 * time.Second))
		if counted.writes != 1 {
			t.Errorf("the system was told %d times", counted.writes)
		}
		read := make(chan string)
		go func() {
			first := make([]byte, 2)
			_, _ = io.ReadFull(theirs, first)
			time.Sleep(15 * time.Second) // beyond the armed deadline, with half of the answer on its way
			rest := make([]byte, 4)
			_, _ = io.ReadFull(theirs, rest)
			read <- string(first) + string(rest)
		}()
		if n, err := c.Write([]byte("answer")); n != 6 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		if got := <-read; got != "answer" {
			t.Errorf("read %q", got)
		}
		_ = c.SetWriteDeadline(time.Now().Add(time.Second))
		if n, err := c.Write([]byte("nobody reads")); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%d, %v", n, err)
		}
	})
}
