package rabbitmq

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"headgate.example/lib/queue"
)

// maxRequests bounds the calls that wait for a lane; more wait to get in.
const maxRequests = 4096

// publisher owns the publishing connection and its lanes.
type publisher struct {
	config   queue.Config
	log      *slog.Logger
	requests chan *request
	closing  chan struct{}
	done     sync.WaitGroup

	mu      sync.Mutex
	top     *topology     // nil while there is no connection
	up      chan struct{} // closed while there is one
	why     error         // why there is none
	blocked string        // the broker's reason for taking nothing; "" when it does
	open    chan struct{} // closed while the broker takes messages
}

func newPublisher(cfg queue.Config, log *slog.Logger) *publisher {
	p := &publisher{
		config: cfg, log: log, requests: make(chan *request, maxRequests), closing: make(chan struct{}),
		up: make(chan struct{}), open: make(chan struct{}), why: fmt.Errorf("%w: still connecting", queue.ErrDisconnected),
	}
	close(p.open)
	return p
}

// send hands letters to the lanes and waits for their outcomes.
func (p *publisher) send(ctx context.Context, topic string, letters []letter) []queue.Outcome {
	if len(letters) == 0 {
		return nil
	}
	r := newRequest(topic, letters)
	deadline := time.Now().Add(p.config.PublishTimeout)
	patience := time.NewTimer(p.config.BrokerWait) // one timer a call: a rush makes thousands
	defer patience.Stop()
	in, closing := p.requests, p.closing
	select { // the usual way, at less than half the price of the other
	case in <- r:
		in = nil
	default:
	}
	for {
		select {
		case in <- r:
			in = nil
		case <-r.done:
			return r.outcomes
		case <-ctx.Done():
			return r.giveUp(context.Cause(ctx))
		case <-closing:
			r.abandon(queue.ErrClosed)
			in, closing = nil, nil // what is written is still waited for
		case <-patience.C:
			left := time.Until(deadline)
			if left <= 0 {
				return r.giveUp(queue.ErrTimeout)
			}
			if err := p.obstacle(); err != nil && r.waiting() {
				r.abandon(err)
			}
			patience.Reset(min(max(p.config.BrokerWait, 50*time.Millisecond), left))
		}
	}
}

// obstacle tells why nothing can be sent at the moment, nil when nothing is in the way.
func (p *publisher) obstacle() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.top == nil:
		return p.why
	case p.blocked != "":
		return fmt.Errorf("%w: %s", queue.ErrBlocked, p.blocked)
	}
	return nil
}

// connected waits for a connection, at most BrokerWait.
func (p *publisher) connected(ctx context.Context) (*topology, error) {
	timer := time.NewTimer(p.config.BrokerWait)
	defer timer.Stop()
	p.mu.Lock()
	up := p.up
	p.mu.Unlock()
	select {
	case <-p.closing:
		return nil, queue.ErrClosed
	default:
	}
	select {
	case <-up:
	case <-p.closing:
		return nil, queue.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timer.C:
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.top == nil {
		return nil, p.why
	}
	return p.top, nil
}

// run connects, again and again, until the handle is closed.
func (p *publisher) run() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	p.done.Go(func() {
		select {
		case <-p.closing:
			cancel() // breaks off an attempt to connect
		case <-ctx.Done():
		}
	})
	var wait pauses
	for {
		began := time.Now()
		err := p.session(ctx)
		select {
		case <-p.closing:
			p.drain()
			return
		default:
		}
		if time.Since(began) > livedLong {
			wait.reset()
		}
		pause := wait.pause()
		p.log.Warn("queue: no connection to the broker for publishing", "error", err, "again_in", pause)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-p.closing:
		}
		timer.Stop()
	}
}

// drain refuses what nobody will write. Callers that come later see closing themselves.
func (p *publisher) drain() {
	for {
		select {
		case r := <-p.requests:
			r.abandon(queue.ErrClosed)
		default:
			return
		}
	}
}

// session is the life of one connection. It returns when the connection is lost or the handle closes,
// after every letter that its lanes had written is settled.
func (p *publisher) session(ctx context.Context) (err error) {
	conn, err := dial(ctx, p.config.URL.Reveal(), p.config.Prefix+" publisher")
	if err != nil {
		p.setDown(err)
		return err
	}
	blocking := conn.NotifyBlocked(make(chan amqp.Blocking, 8)) // closed with the connection
	top := newTopology(p.config, conn, p.log)
	lost := make(chan error, p.config.Channels)
	lanes := make([]*lane, 0, p.config.Channels)
	var running sync.WaitGroup
	err = conn.during(ctx, func() error {
		for range p.config.Channels {
			l, err := openLane(p, top)
			if err != nil {
				return err
			}
			lanes = append(lanes, l)
			running.Go(func() { lost <- l.confirm() })
		}
		return nil
	})
	if err == nil {
		p.setUp(top)
		for _, l := range lanes {
			running.Go(l.write)
		}
	}
	running.Go(func() { p.watchBlocking(blocking) })
	if err == nil {
		select {
		case err = <-lost:
		case <-p.closing:
			settleLast(lanes)
		}
	}
	p.setDown(err)
	conn.hangUp()
	running.Wait()
	return err
}

// settleLast waits a little for the confirms of what was written before the close.
func settleLast(lanes []*lane) {
	deadline := time.NewTimer(closeWithin)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		idle := true
		for _, l := range lanes {
			idle = idle && l.idle()
		}
		if idle {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return
		}
	}
}

// watchBlocking follows the broker's memory and disk alarms until the connection ends.
func (p *publisher) watchBlocking(blocking <-chan amqp.Blocking) {
	for b := range blocking {
		reason := ""
		if b.Active {
			reason = b.Reason
			if reason == "" {
				reason = "no reason given"
			}
			p.log.Warn("queue: the broker takes no messages", "reason", reason)
		} else {
			p.log.Info("queue: the broker takes messages again")
		}
		p.setBlocked(reason)
	}
	p.setBlocked("")
}

func (p *publisher) setUp(top *topology) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.top, p.why = top, nil
	close(p.up)
}

func (p *publisher) setDown(why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.top != nil {
		p.up = make(chan struct{})
	}
	if why == nil {
		why = queue.ErrClosed
	}
	p.top, p.why = nil, why
}

func (p *publisher) setBlocked(reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case reason != "" && p.blocked == "":
		p.open = make(chan struct{})
	case reason == "" && p.blocked != "":
		close(p.open)
	}
	p.blocked = reason
}

// takes is closed while the broker takes messages.
func (p *publisher) takes() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open
}
