package wire

import (
	"io"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo answers what it is sent, and tells what that was.
func echo(t *testing.T) (addr string, heard <-chan string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	texts := make(chan string, 100)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close() //nolint:errcheck // a test's end
				buffer := make([]byte, 100)
				for {
					n, err := conn.Read(buffer)
					if err != nil {
						return
					}
					texts <- string(buffer[:n])
					if _, err := conn.Write(buffer[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String(), texts
}

func ask(conn net.Conn, text string) error {
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Write([]byte(text)); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, make([]byte, len(text)))
	return err
}

func TestWire(t *testing.T) {
	addr, heard := echo(t)
	w, err := New(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", w.Addr())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	one, other := dial(), dial()
	sprung := w.CutAfter("begin", "end")
	for _, c := range []struct {
		conn net.Conn
		text string
	}{{one, "end"}, {one, "begin"}, {other, "end"}} { // not both on one connection
		if err := ask(c.conn, c.text); err != nil {
			t.Fatalf("%s: %v", c.text, err)
		}
		<-heard
	}
	if err := ask(one, "end"); err == nil {
		t.Fatal("an answer came through the trap")
	}
	<-sprung
	if text := <-heard; text != "end" {
		t.Errorf("%q arrived, want the last piece", text)
	}
	if err := ask(other, "x"); err == nil {
		t.Error("the other connection was not cut")
	}
	if err := ask(dial(), "x"); err == nil {
		t.Error("a new connection was not refused")
	}
	w.Heal()
	if err := ask(dial(), "x"); err != nil {
		t.Errorf("after Heal: %v", err)
	}
	conn := dial()
	if err := ask(conn, "x"); err != nil {
		t.Fatal(err)
	}
	w.Cut()
	if err := ask(conn, "x"); err == nil {
		t.Error("not cut")
	}
}
