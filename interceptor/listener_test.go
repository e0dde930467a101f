package interceptor

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"

	"headgate.example/lib/service/servicetest"
)

// starved is a listener whose Accept fails for want of file descriptors, some times in a row.
type starved struct {
	net.Listener
	mu       sync.Mutex
	failures int
}

func (l *starved) Accept() (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failures == 0 {
		return &net.TCPConn{}, nil
	}
	l.failures--
	return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
}

func (l *starved) Close() error { return nil }

func TestListenerSurvivesWantOfDescriptors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPatientListener(&starved{failures: 100}, servicetest.Log(t))
		conn, err := l.Accept()
		if conn == nil || err != nil {
			t.Fatalf("got %v, %v", conn, err)
		}
	})
}

func TestListenerStopsWhileItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPatientListener(&starved{failures: 1 << 30}, servicetest.Log(t))
		ended := make(chan error, 1)
		go func() { _, err := l.Accept(); ended <- err }()
		synctest.Wait()
		for range 2 { // the server and Run both close it
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v", err)
		}
	})
}
