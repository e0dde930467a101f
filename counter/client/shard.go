package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"headgate.example/lib/config"
	"headgate.example/lib/problem"
)

// role is whose password a command is sent with.
type role int

const (
	buyer role = iota
	operator
)

const (
	firstPause = 5 * time.Millisecond
	maxPause   = 100 * time.Millisecond
	// attemptShare of a call's time is given to one attempt when there is another voter to ask: one that
	// hangs, paused or cut off, must not take it all.
	attemptShare = 2
)

// shard is one shard of the counter: the nodes of its voters, one of which leads.
type shard struct {
	Shard
	cfg  *Config
	base context.Context
	dial dialFunc

	mu     sync.Mutex
	leader string // the address that is asked first
	nodes  map[nodeKey]*node
}

type nodeKey struct {
	address string
	role    role
}

func newShard(base context.Context, cfg *Config, dial dialFunc, s Shard) *shard {
	return &shard{Shard: s, cfg: cfg, base: base, dial: dial, leader: s.Addresses[0], nodes: make(map[nodeKey]*node)}
}

func (s *shard) password(r role) config.Secret {
	if r == operator && s.cfg.OperatorPassword != "" {
		return s.cfg.OperatorPassword
	}
	return s.cfg.ClientPassword
}

// node gives the node that is believed to lead.
func (s *shard) node(r role) *node {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lockedNode(s.leader, r)
}

// nodeAt gives the node at an address.
func (s *shard) nodeAt(address string, r role) *node {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lockedNode(address, r)
}

func (s *shard) lockedNode(address string, r role) *node {
	if s.password(r) == s.password(buyer) {
		r = buyer // one password, one set of connections
	}
	key := nodeKey{address, r}
	n := s.nodes[key]
	if n == nil {
		n = &node{address: address, password: s.password(r), cfg: s.cfg, base: s.base, dialTCP: s.dial}
		s.nodes[key] = n
	}
	return n
}

// moved follows a leader that another voter named. Only configured addresses and a few others are
// followed, so that a confused counter cannot make us open connections without end.
func (s *shard) moved(from, to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leader == from && (slices.Contains(s.Addresses, to) || len(s.nodes) < 2*MaxAddresses) {
		s.leader = to
	}
}

// away turns to the next voter after one that does not lead, but rather not to one that was silent just
// now.
func (s *shard) away(from, silent string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leader != from {
		return
	}
	at := slices.Index(s.Addresses, from)
	for range s.Addresses {
		at = (at + 1) % len(s.Addresses)
		if s.leader = s.Addresses[at]; s.leader != silent {
			return
		}
	}
}

func (s *shard) close() {
	s.mu.Lock()
	nodes := s.nodes
	s.nodes = make(map[nodeKey]*node)
	s.mu.Unlock()
	for _, n := range nodes {
		n.close()
	}
}

// effect says whether a command changes anything: if not, an unknown outcome is as good as none.
type effect bool

const (
	reads   effect = false
	changes effect = true
)

// do sends one command until it is answered, refused for good, or the time is over. Every command may
// be repeated; what came of the attempts decides between ErrUnavailable and ErrUnknown.
func (s *shard) do(ctx context.Context, r role, e effect, command ...string) (rueidis.RedisMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	uncertain := false // some attempt may have been carried out
	silent := ""       // the address that did not answer last
	pause := firstPause
	for {
		n := s.node(r)
		message, err := s.attempt(ctx, n, command)
		if err == nil {
			return message, nil
		}
		v := judge(ctx, err)
		if v.final == nil && noRESP(err) && len(s.Addresses) == 1 {
			v.final = s.gaveUp(ctx, n.address, false, err) // nobody else can be asked, and that one will not become a counter
		}
		uncertain = uncertain || v.uncertain && e == changes
		switch {
		case e == changes && v.final == errNil:
			return message, malformed("null")
		case v.final != nil && uncertain && saysNotDone(v.final):
			return message, fmt.Errorf("%w: shard %s: an attempt before this answer is in doubt: %v", ErrUnknown, s.Name, v.final)
		case v.final != nil:
			return message, v.final
		case v.movedTo != "" && v.movedTo == silent:
			// It has not heard yet of that one's end: ask it again in a moment.
		case v.movedTo != "":
			s.moved(n.address, v.movedTo)
		case v.away:
			if v.silent {
				silent = n.address
			}
			s.away(n.address, silent)
		}
		if !rest(ctx, pause) {
			return message, s.gaveUp(ctx, n.address, uncertain, err)
		}
		pause = min(2*pause, maxPause)
	}
}

// saysNotDone reports whether an error speaks of its own attempt only: the one before it may have been
// carried out all the same.
func saysNotDone(err error) bool {
	return errors.Is(err, ErrBusy) || errors.Is(err, ErrUnavailable) || errors.Is(err, ErrForbidden)
}

func (s *shard) attempt(ctx context.Context, n *node, command []string) (rueidis.RedisMessage, error) {
	conn, err := n.connect(ctx)
	if err != nil {
		return rueidis.RedisMessage{}, err
	}
	if err := ctx.Err(); err != nil {
		return rueidis.RedisMessage{}, &dialError{err} // the connections came too late: nothing is sent
	}
	if len(s.Addresses) > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.cfg.Timeout/attemptShare)
		defer cancel()
	}
	connected := n.connected()
	message, err := conn.Do(ctx, conn.B().Arbitrary(command...).Build()).ToMessage()
	if err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		if !connected() {
			return message, &dialError{err}
		}
		err = &noReplyError{err}
	}
	return message, err
}

func (s *shard) gaveUp(ctx context.Context, address string, uncertain bool, last error) error {
	outcome, what := ErrUnavailable, ""
	if uncertain {
		outcome = ErrUnknown
	}
	if noRESP(last) {
		what = " (what listens there is no counter: see counter.shards[].addresses)"
	}
	if cause := ctx.Err(); cause != nil && !errors.Is(last, cause) {
		return fmt.Errorf("%w: shard %s at %s%s: %w, last: %w", outcome, s.Name, address, what, cause, last)
	}
	return fmt.Errorf("%w: shard %s at %s%s: %w", outcome, s.Name, address, what, last)
}

// noRESP reports an answer in another protocol, such as HTTP: the library has no error of its own for it.
func noRESP(err error) bool { return strings.Contains(err.Error(), "unknown message type") }

// noReplyError is an attempt whose own time ended before an answer came.
type noReplyError struct{ err error }

func (e *noReplyError) Error() string { return "no answer: " + e.err.Error() }
func (e *noReplyError) Unwrap() error { return e.err }

// rest waits before the next attempt; false when there is no time for one.
func rest(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// verdict is what an attempt's error means.
type verdict struct {
	final     error  // do not repeat
	uncertain bool   // it may have been carried out
	movedTo   string // repeat there
	away      bool   // repeat at another voter
	silent    bool   // this one does not answer at all
}

func judge(ctx context.Context, err error) verdict {
	if rueidis.IsRedisNil(err) {
		return verdict{final: errNil}
	}
	if reply, ok := rueidis.IsRedisErr(err); ok {
		return judgeReply(reply.Error())
	}
	var notConnected *dialError
	var noReply *noReplyError
	switch {
	case errors.Is(err, errClosed):
		return verdict{final: fmt.Errorf("%w: %w", ErrUnavailable, err)}
	case errors.As(err, &notConnected):
		return verdict{away: true, silent: true}
	case errors.As(err, &noReply):
		return verdict{uncertain: true, away: true, silent: true}
	case ctx.Err() == nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)):
		return verdict{} // another caller's context ended while the connection was made for all
	}
	return verdict{uncertain: true, away: true, silent: true}
}

// judgeReply reads an error reply by its first word. rueidis has taken ERR off.
func judgeReply(reply string) verdict {
	word, rest, _ := strings.Cut(reply, " ")
	switch problem.RESPError(word) {
	case problem.RESPTryAgain:
		if reason, ok := strings.CutPrefix(rest, peersAway); ok {
			return verdict{final: fmt.Errorf("%w: %s", ErrUnavailable, reason)} // the counter has waited already
		}
		return verdict{away: true}
	case problem.RESPMoved:
		if _, address, ok := strings.Cut(rest, " "); ok && address != "" {
			return verdict{movedTo: address}
		}
		return verdict{away: true}
	case problem.RESPUnknown:
		return verdict{uncertain: true}
	case problem.RESPBusy:
		return verdict{final: fmt.Errorf("%w: %s", ErrBusy, rest)}
	case problem.RESPNoAuth, problem.RESPNoPerm, "WRONGPASS":
		return verdict{final: fmt.Errorf("%w: %s", ErrForbidden, reply)}
	case problem.RESPWrongShard:
		return verdict{final: &wrongShardError{rest}}
	case problem.RESPConflict:
		if revision, err := strconv.ParseInt(strings.TrimPrefix(rest, "revision "), 10, 64); err == nil {
			return verdict{final: &ConflictError{Revision: revision}}
		}
	}
	if word == "AUTH" { // Redis without a password
		return verdict{final: fmt.Errorf("%w: it has no password set, so it is no counter with passwords: %s", ErrForbidden, reply)}
	}
	if strings.HasPrefix(reply, "unknown command") { // of another server that speaks RESP
		return verdict{final: fmt.Errorf("%w: what listens there is no counter, or one of another version: %s", ErrUnavailable, reply)}
	}
	if word == strings.ToUpper(word) {
		return verdict{final: malformed("error reply %q", reply)}
	}
	if reply == noSaleReply {
		return verdict{final: ErrNoSale}
	}
	if field, reason, ok := strings.Cut(reply, ": "); ok {
		return verdict{final: &RequestError{Field: field, Reason: reason}}
	}
	return verdict{final: &RequestError{Reason: reply}}
}

// peersAway begins the reason why an empty shard could not decide: it could not ask the others.
const peersAway = "peers: "

// noSaleReply is how the counter says that a sale to be changed is not there.
const noSaleReply = "sale: is not known here"

// errNil is the null reply: what was asked for is not there.
var errNil = errors.New("nothing there")

// wrongShardError is the shard that the counter says is right.
type wrongShardError struct{ name string }

func (e *wrongShardError) Error() string {
	return "the counter says that another shard is right: " + e.name
}

func (e *wrongShardError) Is(target error) bool { return target == ErrUnavailable }

// malformed is an answer that no counter of a known version gives.
func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: the counter answered something else: %s", ErrUnknown, fmt.Sprintf(format, args...))
}
