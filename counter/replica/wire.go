package replica

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"headgate.example/lib/service"
)

// Limits of the network between voters.
const (
	wireTimeout      = 2 * time.Second // of one message; snapshots get more by their size
	handshakeTimeout = time.Second
	maxHandshakes    = 64 // at once; more wait in the kernel's queue
	maxLineBytes     = 1024
	pooledConns      = 3 // kept for each voter
)

// voteAfter is how long a started voter hears nobody. It may have answered a leader's heartbeat just
// before it went down, and that leader may answer from memory for verifiedFor: no vote before that.
const voteAfter = verifiedFor + 50*time.Millisecond

// greeting begins both lines of the handshake and names its version.
const greeting = "HEADGATE-RAFT 1"

// What a connection between voters is for.
const (
	forRaft = "raft"
	// forProbe: the listener's answer to the greeting is all that is wanted. Programs that read entries up to
	// version 2 ask for "probe", refuse an answer of more words than theirs, and answer this as they do that.
	forProbe = "probe2"
)

// unsaidVersion is the newest entry version that a voter reads as far as is known before it has said so;
// programs that do not say it read this one.
const unsaidVersion = 2

// self is what a voter says of itself in the handshake.
type self struct {
	id, shard string
	number    int
	folder    string
	secret    []byte
	reads     int // the newest entry version
	log       func() (last, applied uint64)
	wall      func() int64                  // milliseconds since 1970
	folderOf  func(id string) (name string) // the folder that the log knows for a voter, "" when none
}

// probed is what another voter said of itself.
type probed struct {
	id, folder    string
	last, applied uint64
	wall          int64
	reads         int // the newest entry version; unsaidVersion when it was not asked for it
}

// stream is raft's network: TCP connections that begin with a handshake, which shows the shared
// secret, that both are of one shard, and that both still have the folder that the log knows.
//
//	dialer:   HEADGATE-RAFT 1 purpose shard number id folder nonce
//	listener: HEADGATE-RAFT 1 id folder last applied wall [reads] nonce proof      or: -reason
//	dialer:   proof                                                                (only for raft)
//
// The purpose is raft, probe2, or the probe of older programs. Only the answer to probe2 tells which entry
// version the listener reads, and that of an older program does not: so either may be the older one.
// A proof is the HMAC-SHA256 of all lines before it under the secret. What follows is not encrypted.
type stream struct {
	self     self
	listener net.Listener
	address  raft.ServerAddress
	conns    chan net.Conn

	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu   sync.Mutex // guards open; a leaf
	open map[*wireConn]struct{}
}

// wireConn is a connection that Close ends with the stream.
type wireConn struct {
	net.Conn
	s *stream
}

func (c *wireConn) Close() error {
	c.s.mu.Lock()
	delete(c.s.open, c)
	c.s.mu.Unlock()
	return c.Conn.Close()
}

// listenRaft binds the address. Nobody is heard before serve.
func listenRaft(listen string, address raft.ServerAddress, me self) (*stream, error) {
	l, err := service.Listen("raft_listen", listen)
	if err != nil {
		return nil, err
	}
	s := &stream{self: me, listener: l, address: address, conns: make(chan net.Conn), open: make(map[*wireConn]struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// serve begins to hear the other voters.
func (s *stream) serve(after time.Duration) {
	s.work.Go(func() {
		quiet := time.NewTimer(after)
		defer quiet.Stop()
		select {
		case <-quiet.C:
			s.acceptAll()
		case <-s.ctx.Done():
		}
	})
}

func (s *stream) acceptAll() {
	places := make(chan struct{}, maxHandshakes)
	for {
		select {
		case places <- struct{}{}:
		case <-s.ctx.Done():
			return
		}
		nc, err := s.listener.Accept()
		if err != nil {
			<-places
			if errors.Is(err, net.ErrClosed) {
				return
			}
			select { // out of file descriptors, most likely
			case <-time.After(50 * time.Millisecond):
			case <-s.ctx.Done():
				return
			}
			continue
		}
		s.work.Go(func() {
			defer func() { <-places }()
			s.admit(s.track(nc))
		})
	}
}

func (s *stream) track(nc net.Conn) *wireConn {
	c := &wireConn{Conn: nc, s: s}
	s.mu.Lock()
	s.open[c] = struct{}{}
	s.mu.Unlock()
	if s.ctx.Err() != nil {
		_ = c.Close()
	}
	return c
}

// admit answers the handshake of a connection from outside, and gives it to raft.
func (s *stream) admit(c *wireConn) {
	if err := s.answer(c); err != nil {
		_ = c.Close()
		return
	}
	select {
	case s.conns <- c:
	case <-s.ctx.Done():
		_ = c.Close()
	}
}

var errNotForRaft = errors.New("the connection goes no further")

// refuse says why, and never lets the connection through.
func refuse(c net.Conn, reason string) error {
	return errors.Join(errNotForRaft, writeLine(c, "-"+reason))
}

// answer is nil only for a voter that has shown the secret.
func (s *stream) answer(c net.Conn) error {
	_ = c.SetDeadline(time.Now().Add(handshakeTimeout)) // a failure shows at the next read
	hello, err := readLine(c)
	if err != nil {
		return err
	}
	words := strings.Split(hello, " ")
	if len(words) != 8 || strings.Join(words[:2], " ") != greeting {
		return refuse(c, "not a voter of this version")
	}
	purpose, shard, number, from, folder := words[2], words[3], words[4], words[5], words[6]
	if shard != s.self.shard || number != strconv.Itoa(s.self.number) {
		return refuse(c, fmt.Sprintf("this is shard %s, number %d", s.self.shard, s.self.number))
	}
	if known := s.self.folderOf(from); purpose == forRaft && known != "" && known != folder {
		return refuse(c, "voter "+from+" has another folder than the log knows: a wiped voter returns under a new id")
	}
	last, applied := s.self.log()
	told := fmt.Sprintf("%s %s %s %d %d %d", greeting, s.self.id, s.self.folder, last, applied, s.self.wall())
	if purpose == forProbe {
		told += " " + strconv.Itoa(s.self.reads)
	}
	told += " " + rand.Text()
	if err := writeLine(c, told+" "+s.proof("listener", hello, told)); err != nil {
		return err
	}
	if purpose != forRaft {
		return errNotForRaft
	}
	proof, err := readLine(c)
	if err != nil {
		return err
	}
	if !hmac.Equal([]byte(proof), []byte(s.proof("dialer", hello, told))) {
		return errors.New("wrong secret")
	}
	return c.SetDeadline(time.Time{})
}

func (s *stream) proof(who, hello, told string) string {
	mac := hmac.New(sha256.New, s.self.secret)
	fmt.Fprintf(mac, "%s\n%s\n%s\n", who, hello, told)
	return hex.EncodeToString(mac.Sum(nil))
}

// Dial implements raft.StreamLayer.
func (s *stream) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	to, ok := parseAddress(address)
	if !ok {
		return nil, fmt.Errorf("voter address %q has no network address", address)
	}
	c, found, err := s.call(s.ctx, forRaft, to.Raft, timeout)
	if err != nil {
		return nil, err
	}
	if err := to.checkFound(found); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (p peer) checkFound(found probed) error {
	switch {
	case found.id != p.ID:
		return fmt.Errorf("%s is voter %s, not %s", p.Raft, found.id, p.ID)
	case p.folder != "" && found.folder != p.folder:
		return fmt.Errorf("voter %s at %s has another folder than the log knows: remove it, and add it under a new id", p.ID, p.Raft)
	}
	return nil
}

// probe asks a voter about itself.
func (s *stream) probe(ctx context.Context, address string) (probed, error) {
	c, found, err := s.call(ctx, forProbe, address, handshakeTimeout)
	if err != nil {
		return probed{}, err
	}
	return found, c.Close()
}

// call connects and shakes hands.
func (s *stream) call(ctx context.Context, purpose, address string, timeout time.Duration) (net.Conn, probed, error) {
	dialer := net.Dialer{Timeout: min(timeout, handshakeTimeout)}
	nc, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, probed{}, err
	}
	c := s.track(nc)
	found, err := s.greet(c, purpose)
	if err != nil {
		return nil, probed{}, errors.Join(fmt.Errorf("voter at %s: %w", address, err), c.Close())
	}
	return c, found, nil
}

func (s *stream) greet(c net.Conn, purpose string) (probed, error) {
	_ = c.SetDeadline(time.Now().Add(handshakeTimeout))
	hello := fmt.Sprintf("%s %s %s %d %s %s %s", greeting, purpose, s.self.shard, s.self.number, s.self.id, s.self.folder, rand.Text())
	if err := writeLine(c, hello); err != nil {
		return probed{}, err
	}
	line, err := readLine(c)
	if err != nil {
		return probed{}, fmt.Errorf("no handshake: %w", err)
	}
	if reason, refused := strings.CutPrefix(line, "-"); refused {
		return probed{}, errors.New(strings.ToValidUTF8(reason, "?"))
	}
	told, proof, _ := cutLast(line, " ")
	words := strings.Split(told, " ")
	says := len(words) == 9 && purpose == forProbe
	if len(words) != 8 && !says || strings.Join(words[:2], " ") != greeting {
		return probed{}, errors.New("not a voter of this version")
	}
	if !hmac.Equal([]byte(proof), []byte(s.proof("listener", hello, told))) {
		return probed{}, errors.New("raft_secret differs")
	}
	found, err := readProbed(words)
	if err != nil {
		return probed{}, fmt.Errorf("not a voter: %w", err)
	}
	if purpose != forRaft {
		return found, nil // it is closed now
	}
	if err := writeLine(c, s.proof("dialer", hello, told)); err != nil {
		return probed{}, err
	}
	return found, c.SetDeadline(time.Time{})
}

// readProbed reads the words of a listener's answer, of which there are 8, or 9 when it says what it reads.
func readProbed(words []string) (probed, error) {
	last, lastErr := strconv.ParseUint(words[4], 10, 64)
	applied, appliedErr := strconv.ParseUint(words[5], 10, 64)
	wall, wallErr := strconv.ParseInt(words[6], 10, 64)
	reads, readsErr := uint64(unsaidVersion), error(nil)
	if len(words) == 9 {
		if reads, readsErr = strconv.ParseUint(words[7], 10, 8); readsErr == nil && reads < 1 { // an entry has a byte for it
			readsErr = errors.New("entry version 0")
		}
	}
	if err := errors.Join(lastErr, appliedErr, wallErr, readsErr); err != nil {
		return probed{}, err
	}
	return probed{id: words[2], folder: words[3], last: last, applied: applied, wall: wall, reads: int(reads)}, nil
}

func cutLast(text, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(text, sep); i >= 0 {
		return text[:i], text[i+len(sep):], true
	}
	return text, "", false
}

func writeLine(c net.Conn, line string) error {
	_, err := c.Write([]byte(line + "\n"))
	return err
}

// readLine reads no byte beyond the line's end: what follows is raft's.
func readLine(c net.Conn) (string, error) {
	line := make([]byte, 0, 256)
	var b [1]byte
	for len(line) < maxLineBytes {
		if _, err := c.Read(b[:]); err != nil {
			return "", err
		}
		if b[0] == '\n' {
			return string(line), nil
		}
		line = append(line, b[0])
	}
	return "", errors.New("a line that is too long")
}

// Accept implements net.Listener.
func (s *stream) Accept() (net.Conn, error) {
	select {
	case c := <-s.conns:
		return c, nil
	case <-s.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. It also ends every connection.
func (s *stream) Close() error {
	s.cancel()
	err := s.listener.Close()
	s.mu.Lock()
	open := s.open
	s.open = make(map[*wireConn]struct{})
	s.mu.Unlock()
	for c := range open {
		_ = c.Conn.Close()
	}
	s.work.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Addr implements net.Listener: how the others know this voter.
func (s *stream) Addr() net.Addr { return wireAddr(s.address) }

type wireAddr raft.ServerAddress

func (wireAddr) Network() string  { return "tcp" }
func (a wireAddr) String() string { return string(a) }
