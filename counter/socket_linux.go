package counter

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"
)

// errWouldBlock: nothing more has arrived.
var errWouldBlock = errors.New("nothing has arrived")

// socket is a TCP connection outside of Go's poller, for a loop that waits for many of them at once. Nothing
// of it ever waits. It belongs to whoever drives its connection at the time.
type socket struct {
	fd int
	// short: the last read took all there was.
	short bool
	// unsent is what the kernel has not taken yet.
	unsent []byte
}

// newSocket takes a connection over.
func newSocket(nc *net.TCPConn) (*socket, error) {
	defer nc.Close() //nolint:errcheck // the socket goes on as a duplicate
	raw, err := nc.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &socket{}
	var failed error
	err = raw.Control(func(fd uintptr) {
		dup, _, errno := syscall.RawSyscall(syscall.SYS_FCNTL, fd, syscall.F_DUPFD_CLOEXEC, 0)
		if errno != 0 {
			failed = os.NewSyscallError("fcntl", errno)
		}
		s.fd = int(dup)
	})
	if err = errors.Join(err, failed); err != nil {
		return nil, fmt.Errorf("taking a connection over: %w", err)
	}
	return s, nil
}

// Read reads what has arrived: errWouldBlock when that is nothing.
func (s *socket) Read(b []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(s.fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		switch {
		case errno == syscall.EINTR:
			continue
		case errno == syscall.EAGAIN:
			s.short = true
			return 0, errWouldBlock
		case errno != 0:
			return 0, os.NewSyscallError("read", errno)
		case n == 0:
			return 0, io.EOF
		}
		s.short = int(n) < len(b)
		return int(n), nil
	}
}

// Write gives the kernel what it takes, and keeps the rest for send. It takes everything or fails.
func (s *socket) Write(b []byte) (int, error) {
	if len(s.unsent) > 0 {
		s.unsent = append(s.unsent, b...)
		return len(b), nil
	}
	n, err := s.write(b)
	if err != nil {
		return n, err
	}
	s.unsent = append(s.unsent, b[n:]...)
	return len(b), nil
}

// send offers the kernel what it has not taken yet.
func (s *socket) send() error {
	n, err := s.write(s.unsent)
	if s.unsent = s.unsent[:copy(s.unsent, s.unsent[n:])]; len(s.unsent) == 0 {
		s.unsent = nil // most connections never need it again
	}
	return err
}

func (s *socket) write(b []byte) (int, error) {
	for sent := 0; ; {
		if sent == len(b) {
			return sent, nil
		}
		n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(s.fd), uintptr(unsafe.Pointer(unsafe.SliceData(b[sent:]))), uintptr(len(b)-sent),
			syscall.MSG_NOSIGNAL, 0, 0)
		switch {
		case errno == syscall.EINTR:
		case errno == syscall.EAGAIN:
			return sent, nil
		case errno != 0:
			return sent, os.NewSyscallError("send", errno)
		default:
			sent += int(n)
		}
	}
}

// closeWrite tells the peer that nothing more comes.
func (s *socket) closeWrite() error { return syscall.Shutdown(s.fd, syscall.SHUT_WR) }

// cut makes all further reads and writes fail, whoever makes them.
func (s *socket) cut() { _ = syscall.Shutdown(s.fd, syscall.SHUT_RDWR) } // it fails when there is nothing to cut

func (s *socket) close() { _ = syscall.Close(s.fd) } // nothing can be done about it
