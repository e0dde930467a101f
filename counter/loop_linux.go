package counter

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// sweepEvery is how often a loop looks for members whose time is over.
const sweepEvery = 250 * time.Millisecond

// loop drives many connections by one goroutine. It reads what has arrived, answers what can be answered
// at once, puts the rest before the log and writes when its fate is known, and so spares the
// kernel and the scheduler most of what a goroutine for each connection costs them. It never waits for anything but
// its members: a request that has to wait is lent, with its connection, to a goroutine.
//
// Its epoll instance lies in Go's poller, as any file would, so that a waiting loop costs no thread. Members are
// edge-triggered: each is read until there is nothing more.
type loop struct {
	srv     *Server
	epoll   *os.File
	epfd    int
	events  [128]syscall.EpollEvent
	ready   int
	members []*member // by descriptor
	scratch [4096]byte
	now     time.Time // of this round
	swept   time.Time

	mu      sync.Mutex // guards what follows and member.news; a leaf
	posted  []*member
	parked  bool // run waits, or is about to
	stopped bool
}

func newLoop(s *Server) (*loop, error) {
	epfd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := syscall.SetNonblock(epfd, true); err != nil { // so that os.NewFile gives it to Go's poller
		return nil, errors.Join(os.NewSyscallError("fcntl", err), syscall.Close(epfd))
	}
	return &loop{srv: s, epfd: epfd, epoll: os.NewFile(uintptr(epfd), "epoll")}, nil
}

// take makes a connection a member.
func (l *loop) take(nc *net.TCPConn) error {
	remote, local := nc.RemoteAddr(), nc.LocalAddr()
	sock, err := newSocket(nc)
	if err != nil {
		return err
	}
	m := &member{loop: l, sock: sock}
	m.conn = newConn(l.srv, remote, local, sock, sock)
	m.then = func() { l.post(m, fateKnown) }
	l.srv.joined(m)
	l.post(m, arrived)
	return nil
}

// post tells the loop of news, and wakes it.
func (l *loop) post(m *member, what news) {
	l.mu.Lock()
	if m.news == 0 {
		l.posted = append(l.posted, m)
	}
	m.news |= what
	l.wakeLocked()
}

// wakeLocked wakes the loop and unlocks it.
func (l *loop) wakeLocked() {
	wake := l.parked
	l.parked = false
	l.mu.Unlock()
	if wake {
		_ = l.epoll.SetReadDeadline(time.Unix(1, 0)) // fails only when the loop has ended
	}
}

// stop ends the loop, which has no members any more.
func (l *loop) stop() {
	l.mu.Lock()
	l.stopped = true
	l.wakeLocked()
}

// run is the loop, until stop.
func (l *loop) run() {
	defer l.epoll.Close() //nolint:errcheck // nobody waits for it any more
	raw, err := l.epoll.SyscallConn()
	if err != nil {
		panic(err) // it is open
	}
	l.now = time.Now()
	sweeper := time.AfterFunc(sweepEvery, func() {
		l.mu.Lock()
		l.wakeLocked()
	})
	defer sweeper.Stop()
	poll := func(uintptr) bool { return l.poll() }
	var posted []*member
	for {
		posted = l.news(posted[:0])
		for _, m := range posted {
			l.told(m)
		}
		if l.ready = 0; len(posted) > 0 {
			l.poll()
		} else if !l.wait(raw, poll) {
			return
		}
		l.now = time.Now()
		l.look()
		if l.now.Sub(l.swept) >= sweepEvery {
			l.sweep()
			sweeper.Reset(sweepEvery)
		}
	}
}

// wait waits for events or news; false at the end.
func (l *loop) wait(raw syscall.RawConn, poll func(uintptr) bool) bool {
	if !l.park() {
		return false
	}
	err := raw.Read(poll)
	l.unpark()
	if errors.Is(err, os.ErrDeadlineExceeded) { // there are news
		err = l.epoll.SetReadDeadline(time.Time{})
	}
	if err != nil {
		panic(fmt.Sprintf("counter: the event loop cannot wait: %v", err)) // its file is its own
	}
	return true
}

// poll fetches events without waiting; false when there are none.
func (l *loop) poll() bool {
	n, err := epollNow(l.epfd, l.events[:])
	if err != 0 && err != syscall.EINTR {
		panic(os.NewSyscallError("epoll_wait", err)) // its arguments are good
	}
	l.ready = max(n, 0)
	return l.ready > 0
}

// look brings the members on that events are about.
func (l *loop) look() {
	for _, e := range l.events[:l.ready] {
		m := l.members[e.Fd]
		if m == nil {
			continue
		}
		if e.Events&^syscall.EPOLLOUT != 0 {
			m.readable = true
		}
		if e.Events&^(syscall.EPOLLIN|syscall.EPOLLOUT) != 0 {
			m.ended = true
		}
		if m.place == parked {
			l.step(m)
		}
	}
}

// news takes what was posted.
func (l *loop) news(into []*member) []*member {
	l.mu.Lock()
	defer l.mu.Unlock()
	into = append(into, l.posted...)
	clear(l.posted)
	l.posted = l.posted[:0]
	return into
}

// park announces that the loop is going to wait. It is false at the end; with news about it will not have to wait.
func (l *loop) park() bool {
	l.mu.Lock()
	if l.stopped {
		l.mu.Unlock()
		return false
	}
	if l.parked = true; len(l.posted) > 0 {
		l.wakeLocked()
		return true
	}
	l.mu.Unlock()
	return true
}

func (l *loop) unpark() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.parked = false
}

// told brings a member on of which there are news.
func (l *loop) told(m *member) {
	l.mu.Lock()
	what := m.news
	m.news = 0
	l.mu.Unlock()
	if m.place == gone {
		return
	}
	if what&arrived != 0 {
		l.enter(m)
	}
	if what&cutOff != 0 {
		m.hurried = true
		m.sock.cut() // who writes next fails
	}
	if what&hurryUp != 0 {
		m.hurried = true
	}
	if what&(fateKnown|returned) != 0 {
		m.place = parked
	}
	switch {
	case m.place != parked:
	case m.broken || what&cutOff != 0:
		l.end(m)
	case what&fateKnown != 0:
		l.fate(m)
	case what&returned == 0 || l.deliver(m):
		l.step(m)
	}
}

// enter begins to watch a member.
func (l *loop) enter(m *member) {
	fd := m.sock.fd
	if fd >= len(l.members) {
		l.members = append(l.members, make([]*member, fd+64-len(l.members))...)
	}
	l.members[fd] = m
	const edges = syscall.EPOLLIN | syscall.EPOLLOUT | syscall.EPOLLRDHUP | 1<<31 // EPOLLET, which is a negative constant in syscall
	event := syscall.EpollEvent{Events: edges, Fd: int32(fd)}
	if err := syscall.EpollCtl(l.epfd, syscall.EPOLL_CTL_ADD, fd, &event); err != nil {
		l.srv.rt.Log.Error("a connection cannot be watched", "error", os.NewSyscallError("epoll_ctl", err))
		l.end(m)
	}
}

// sweep ends the members whose time is over.
func (l *loop) sweep() {
	l.swept = l.now
	for _, m := range l.members {
		if m == nil || m.place != parked || l.now.Before(m.until) {
			continue
		}
		switch {
		case m.lingering:
			l.end(m)
		case len(m.sock.unsent) > 0:
			m.evicted()
			l.end(m)
		default:
			l.linger(m)
		}
	}
}
