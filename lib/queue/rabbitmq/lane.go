package rabbitmq

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"headgate.example/lib/queue"
)

// window bounds the letters of one lane that wait for their confirms.
const window = 2048

// retryEvery is the pause before letters are written again to a queue that is still being created.
const retryEvery = 20 * time.Millisecond

// lane is a channel in confirm mode with a writer (write) and a reader of confirms (confirm).
type lane struct {
	p        *publisher
	top      *topology
	ch       *amqp.Channel
	confirms chan amqp.Confirmation
	returns  chan amqp.Return
	closed   chan *amqp.Error
	slots    chan struct{} // one per letter in flight
	dead     chan struct{} // closed when the channel is lost

	mu       sync.Mutex
	inFlight map[uint64]position // by delivery tag
	tag      uint64              // of the last letter written
	ended    bool
	holding  bool // the writer has a request in hand
}

// position is a letter of a request.
type position struct {
	r *request
	i int
}

func openLane(p *publisher, top *topology) (*lane, error) {
	ch, err := top.conn.Channel()
	if err == nil {
		err = ch.Confirm(false)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: opening a channel: %w", queue.ErrDisconnected, err)
	}
	return &lane{
		p: p, top: top, ch: ch,
		confirms: ch.NotifyPublish(make(chan amqp.Confirmation, window)),
		returns:  ch.NotifyReturn(make(chan amqp.Return, window)),
		closed:   ch.NotifyClose(make(chan *amqp.Error, 1)),
		slots:    make(chan struct{}, window), dead: make(chan struct{}), inFlight: map[uint64]position{},
	}, nil
}

// write takes requests until the lane is lost or the handle closes.
func (l *lane) write() {
	for {
		select {
		case r := <-l.p.requests:
			l.setHolding(true)
			alive := l.writeAll(r)
			l.setHolding(false)
			if !alive {
				l.giveBack(r)
				return
			}
		case <-l.dead:
			return
		case <-l.p.closing:
			return
		}
	}
}

// giveBack lets another lane, or the next connection, write what is still queued.
func (l *lane) giveBack(r *request) {
	if !r.waiting() {
		return
	}
	select {
	case <-l.p.closing:
		r.abandon(queue.ErrClosed)
		return
	default:
	}
	select {
	case l.p.requests <- r:
	default:
		r.abandon(fmt.Errorf("%w: connection lost before the message was sent", queue.ErrDisconnected))
	}
}

// writeAll writes a request's letters; false when the lane cannot go on.
func (l *lane) writeAll(r *request) bool {
	for i := range r.letters {
		select {
		case <-l.p.takes():
		case <-l.dead:
			return false
		case <-l.p.closing:
			return false
		}
		if err := l.top.ensure(r.topic, r.letters[i].delay); err != nil {
			if errors.Is(err, queue.ErrDisconnected) && l.top.conn.IsClosed() {
				return false
			}
			l.p.log.Error("queue: the topic's queues cannot be declared", "topic", r.topic, "error", err)
			r.abandon(err)
			return true
		}
		select {
		case l.slots <- struct{}{}:
		case <-l.dead:
			return false
		}
		if !l.writeOne(r, i) {
			return false
		}
	}
	return true
}

// writeOne writes one letter, for which a slot was taken.
func (l *lane) writeOne(r *request, i int) bool {
	if l.ch.IsClosed() {
		return false
	}
	if !r.claim(i) {
		<-l.slots
		return true
	}
	tag, ok := l.launch(position{r, i})
	if !ok {
		r.unclaim(i)
		return false
	}
	letter := &r.letters[i]
	letter.content.CorrelationId = strconv.FormatUint(tag, 10)
	if err := l.ch.Publish(letter.exchange, letter.key, true, false, letter.content); err != nil {
		// Part of it may have been sent. Tags are out of step now: the lane is of no more use.
		r.settle(i, queue.Outcome{Err: fmt.Errorf("%w: while writing: %w", queue.ErrDisconnected, err)})
		l.p.done.Go(func() { l.top.conn.hangUp() }) // wakes the manager
		return false
	}
	return true
}

// launch notes a letter as in flight before it is written; false when the channel is lost.
func (l *lane) launch(p position) (tag uint64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return 0, false
	}
	l.tag++
	l.inFlight[l.tag] = p
	return l.tag, true
}

// land takes a letter out of flight.
func (l *lane) land(tag uint64) (position, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p, ok := l.inFlight[tag]
	delete(l.inFlight, tag)
	return p, ok
}

// idle tells whether nothing is being written or waits for a confirm.
func (l *lane) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended || len(l.inFlight) == 0 && !l.holding
}

func (l *lane) setHolding(holding bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.holding = holding
}

// confirm settles letters as the broker answers, and what is left as unknown when the channel is lost.
func (l *lane) confirm() error {
	returned := map[string]string{}
	returns := l.returns
	var again []*request
	tick := time.NewTicker(retryEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			for _, r := range again {
				l.giveBack(r)
			}
			again = again[:0]
		case ret, ok := <-returns:
			if !ok {
				returns = nil
				continue
			}
			returned[ret.CorrelationId] = ret.ReplyText
		case c, ok := <-l.confirms:
			if !ok {
				err := l.end()
				for _, r := range again {
					l.giveBack(r)
				}
				return err
			}
			drainReturns(returns, returned)
			if r := l.settle(c, returned); r != nil && !slices.Contains(again, r) {
				again = append(again, r)
			}
		}
	}
}

// drainReturns reads the returns that came before an ack: the broker sends them first, on a Go channel
// of their own.
func drainReturns(returns <-chan amqp.Return, returned map[string]string) {
	for {
		select {
		case ret, ok := <-returns:
			if !ok {
				return
			}
			returned[ret.CorrelationId] = ret.ReplyText
		default:
			return
		}
	}
}

// settle ends a letter's flight. It gives the request when the letter is to be written again, which is
// safe after a nack: the letter certainly is not stored.
func (l *lane) settle(c amqp.Confirmation, returned map[string]string) (again *request) {
	p, ok := l.land(c.DeliveryTag)
	if !ok {
		return nil
	}
	<-l.slots
	outcome := queue.Outcome{Fate: queue.Confirmed}
	if len(returned) > 0 {
		key := strconv.FormatUint(c.DeliveryTag, 10)
		if text, ok := returned[key]; ok {
			delete(returned, key)
			outcome = queue.Outcome{Fate: queue.Refused, Err: fmt.Errorf("%w: %s", queue.ErrUnroutable, text)}
			l.top.forget(p.r.topic)
		}
	}
	if outcome.Fate == queue.Confirmed && !c.Ack {
		if l.top.young(p.r.topic) {
			p.r.unclaim(p.i)
			return p.r
		}
		outcome = queue.Outcome{Fate: queue.Refused, Err: queue.ErrRefused}
	}
	p.r.settle(p.i, outcome)
	return nil
}

// end settles what was in flight when the channel was lost, and says why it was.
func (l *lane) end() error {
	why := fmt.Errorf("%w: connection lost before the broker answered", queue.ErrDisconnected)
	select {
	case e := <-l.closed:
		if e != nil {
			why = fmt.Errorf("%w: connection lost before the broker answered: %w", queue.ErrDisconnected, e)
		}
	default:
	}
	l.mu.Lock()
	l.ended = true
	left := l.inFlight
	l.inFlight = nil
	l.mu.Unlock()
	for _, p := range left {
		p.r.settle(p.i, queue.Outcome{Fate: queue.Unknown, Err: why})
	}
	close(l.dead)
	return why
}
