package interceptor

import (
	"errors"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"
)

// The shortest and longest pause after a failed accept.
const (
	minAcceptPause = 5 * time.Millisecond
	maxAcceptPause = time.Second
)

// patientListener waits where accepting fails for want of something that comes back, most likely file
// descriptors. fasthttp takes such a failure for final, and a flood of connections would end the program.
type patientListener struct {
	net.Listener
	log    *slog.Logger
	once   sync.Once
	closed chan struct{}
}

func newPatientListener(l net.Listener, log *slog.Logger) *patientListener {
	return &patientListener{Listener: l, log: log, closed: make(chan struct{})}
}

// Accept fails with net.ErrClosed once the listener is closed, and with whatever does not pass.
func (l *patientListener) Accept() (net.Conn, error) {
	for pause := minAcceptPause; ; pause = min(2*pause, maxAcceptPause) {
		conn, err := l.Listener.Accept()
		if err == nil || !passes(err) {
			return conn, err
		}
		l.log.Warn("cannot accept a connection; trying again", "error", err, "pause", pause)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-l.closed:
			timer.Stop()
			return nil, net.ErrClosed
		}
	}
}

// passes reports whether a failure to accept is one of resources, which come back.
func passes(err error) bool {
	for _, scarce := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, scarce) {
			return true
		}
	}
	return false
}

// Close may be called more than once.
func (l *patientListener) Close() (err error) {
	l.once.Do(func() {
		close(l.closed)
		err = l.Listener.Close()
	})
	return err
}
