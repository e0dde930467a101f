package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"headgate.example/lib/queue"
)

const (
	dialWithin  = 5 * time.Second  // connecting and the handshake
	writeWithin = 10 * time.Second // one write to the socket; beyond it the connection is given up
	closeWithin = 2 * time.Second  // the farewell
	// answerWithin bounds the requests that open or declare something: a broker that waits for a queue's
	// leader may answer none, and keep the connection alive all the same.
	answerWithin = 30 * time.Second
	heartbeat    = 5 * time.Second        // a silent broker is noticed after two or three
	firstPause   = 100 * time.Millisecond // before the second attempt to connect
	longestWait  = 5 * time.Second        // between attempts
	livedLong    = 2 * time.Second        // a connection that lived so long starts the pauses anew
)

// connection is the client's, with its socket: the client's requests know no context, and its farewell
// waits for an answer as long as heartbeats come.
type connection struct {
	*amqp.Connection
	socket net.Conn
}

// dial connects to one of the brokers that an address names, tried in random order, so that many clients
// spread over a cluster; name shows in the broker's list of connections. The end of ctx breaks it off.
func dial(ctx context.Context, address, name string) (*connection, error) {
	brokers, err := queue.Brokers(address)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", queue.ErrDisconnected, err)
	}
	rand.Shuffle(len(brokers), func(i, j int) { brokers[i], brokers[j] = brokers[j], brokers[i] })
	var errs []error
	for _, broker := range brokers {
		conn, err := dialOne(ctx, broker, name)
		if err == nil {
			return conn, nil
		}
		errs = append(errs, explained(broker, err))
	}
	return nil, fmt.Errorf("%w: %w", queue.ErrDisconnected, errors.Join(errs...))
}

// explained names the broker, never its password, and says what to do where it is not the broker's absence.
func explained(address string, err error) error {
	where, hint := "the broker", ""
	u, wrong := url.Parse(address)
	if wrong == nil {
		where = u.Host
	}
	var refused *amqp.Error
	switch {
	case !errors.As(err, &refused) || wrong != nil:
	case refused.Code == amqp.AccessRefused:
		hint = fmt.Sprintf(" (it runs, and refuses user %q or its password in queue.url)", u.User.Username())
	case refused.Code == amqp.NotAllowed:
		hint = fmt.Sprintf(" (it runs; user %q may not use the virtual host %q of queue.url, or it is not there)", u.User.Username(), strings.TrimPrefix(u.Path, "/"))
	case errors.Is(refused, amqp.ErrSASL) || refused.Code == amqp.FrameError || refused.Code == amqp.SyntaxError:
		hint = " (is this a RabbitMQ?)"
	}
	return fmt.Errorf("%s%s: %w", where, hint, err)
}

func dialOne(ctx context.Context, address, name string) (*connection, error) {
	ctx, cancel := context.WithTimeout(ctx, dialWithin)
	defer cancel()
	var release func() bool
	var gathered *gathering
	var socket net.Conn
	conn, err := amqp.DialConfig(address, amqp.Config{
		Heartbeat:  heartbeat,
		Locale:     "en_US",
		Properties: amqp.Table{"connection_name": name, "product": "headgate"},
		Dial: func(network, addr string) (net.Conn, error) {
			var d net.Dialer
			raw, err := d.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			socket = raw
			release = context.AfterFunc(ctx, func() { _ = raw.Close() })
			gathered = gather(raw)
			return gathered, nil
		},
	})
	if release != nil && !release() && err == nil {
		_ = conn.Close()
		err = ctx.Err()
	}
	if err != nil {
		if gathered != nil {
			_ = gathered.Close() // however far it came, its writer ends
		}
		return nil, err
	}
	return &connection{conn, socket}, nil
}

// during makes requests, which fail when ctx ends, or answerWithin has passed: the connection is cut.
func (c *connection) during(ctx context.Context, requests func() error) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = c.socket.Close() })
	defer stop()
	return requests()
}

// hangUp closes a connection politely if the broker still listens, and by force if it does not answer.
func (c *connection) hangUp() {
	force := time.AfterFunc(closeWithin, func() { _ = c.socket.Close() })
	defer force.Stop()
	_ = c.CloseDeadline(time.Now().Add(closeWithin)) // it may be gone already
}

// pauses grows the wait between attempts, with jitter so that many clients do not come back at once.
type pauses struct{ next time.Duration }

func (p *pauses) reset() { p.next = 0 }

func (p *pauses) pause() time.Duration {
	p.next = min(max(2*p.next, firstPause), longestWait)
	return p.next/2 + rand.N(p.next/2) //nolint:gosec // jitter
}
