package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"headgate.example/lib/queue"
)

// settlingIn is how long after its declaration a queue may nack for want of a leader.
const settlingIn = 2 * time.Second

// names derives the names of exchanges and queues.
type names struct{ prefix string }

func (n names) exchange() string          { return n.prefix }
func (n names) deadExchange() string      { return n.prefix + ".dead" }
func (n names) queue(topic string) string { return n.prefix + "." + topic }
func (n names) dead(topic string) string  { return queue.DeadTopic(n.queue(topic)) }
func delayKey(topic string, d time.Duration) string {
	return fmt.Sprintf("%s.delay.%d", topic, d.Milliseconds())
}

// topology declares what a connection needs, once.
type topology struct {
	names         names
	maxReady      int
	deliveryLimit int
	conn          *connection
	log           *slog.Logger

	declaring sync.Mutex // held across the broker's answers: one declaration at a time

	mu       sync.Mutex // taken below declaring; never held while the broker is asked
	declared map[string]time.Time
}

func newTopology(cfg queue.Config, conn *connection, log *slog.Logger) *topology {
	return &topology{
		names: names{cfg.Prefix}, maxReady: cfg.MaxReady, deliveryLimit: cfg.DeliveryLimit,
		conn: conn, log: log, declared: map[string]time.Time{},
	}
}

// ensure declares a topic's exchanges and queues, and the queue of one delay if it is not 0. The topic
// may be one of dead letters, which come with the live one's.
func (t *topology) ensure(topic string, delay time.Duration) error {
	live, dead := queue.LiveTopic(topic)
	if !dead {
		live = topic
	}
	key := topic
	if delay > 0 {
		key = delayKey(topic, delay)
	}
	if t.knows(key) {
		return nil
	}
	t.declaring.Lock()
	defer t.declaring.Unlock()
	if t.knows(key) { // somebody else declared it meanwhile
		return nil
	}
	return t.conn.during(context.Background(), func() error {
		if !t.knows(live) {
			if err := t.declareTopic(live); err != nil {
				return explain(err)
			}
			t.note(live, queue.DeadTopic(live))
		}
		if delay > 0 {
			if err := t.declareDelay(topic, delay); err != nil {
				return explain(err)
			}
			t.note(key)
		}
		return nil
	})
}

func (t *topology) knows(key string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.declared[key]
	return ok
}

// note has what was declared just now. Should it have been deleted and forgotten since, the next
// letter is returned and it is forgotten again.
func (t *topology) note(keys ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, key := range keys {
		t.declared[key] = time.Now()
	}
}

func (t *topology) declareTopic(topic string) error {
	err := t.onChannel(func(ch *amqp.Channel) error {
		for _, exchange := range []string{t.names.exchange(), t.names.deadExchange()} {
			if err := ch.ExchangeDeclare(exchange, amqp.ExchangeDirect, true, false, false, false, nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := t.declare(t.names.dead(topic), t.names.deadExchange(), topic, amqp.Table{}); err != nil {
		return err
	}
	return t.declare(t.names.queue(topic), t.names.exchange(), topic, amqp.Table{
		"x-dead-letter-exchange":    t.names.deadExchange(),
		"x-dead-letter-routing-key": topic,
		"x-dead-letter-strategy":    "at-least-once",
		"x-delivery-limit":          t.deliveryLimit,
	})
}

func (t *topology) declareDelay(topic string, delay time.Duration) error {
	key, back, backKey := delayKey(topic, delay), t.names.exchange(), topic
	if live, dead := queue.LiveTopic(topic); dead {
		back, backKey = t.names.deadExchange(), live
	}
	return t.declare(t.names.queue(key), t.names.exchange(), key, amqp.Table{
		"x-message-ttl":             delay.Milliseconds(),
		"x-dead-letter-exchange":    back,
		"x-dead-letter-routing-key": backKey,
		"x-dead-letter-strategy":    "at-least-once",
	})
}

// count gives the ready messages of one of a topic's queues.
func (t *topology) count(topic, name string, delay time.Duration) (int, error) {
	if err := t.ensure(topic, delay); err != nil {
		return 0, err
	}
	var state amqp.Queue
	err := t.onChannel(func(ch *amqp.Channel) (err error) {
		state, err = ch.QueueDeclarePassive(name, true, false, false, false, nil)
		return err
	})
	var e *amqp.Error
	if errors.As(err, &e) && e.Code == amqp.NotFound {
		t.forget(topic) // deleted under us
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("%w: counting %s: %w", queue.ErrDisconnected, name, err)
	}
	return state.Messages, nil
}

// declare makes a bounded quorum queue that rejects rather than drops, and binds it. One that exists with
// other bounds, which only its deletion could change, is used as it is.
func (t *topology) declare(name, exchange, key string, args amqp.Table) error {
	args["x-queue-type"] = "quorum"
	args["x-overflow"] = "reject-publish"
	if t.maxReady > 0 {
		args["x-max-length"] = t.maxReady
	}
	err := t.onChannel(func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(name, true, false, false, false, args)
		return err
	})
	if otherBounds(err) {
		t.log.Warn("queue: a queue exists with other bounds and keeps them: drain and delete it to change them", "queue", name, "broker", err)
		err = nil
	}
	if err != nil {
		return err
	}
	return t.onChannel(func(ch *amqp.Channel) error { return ch.QueueBind(name, key, exchange, false, nil) })
}

// otherBounds recognizes a queue that was declared with other bounds, and is like ours in all else that
// the broker compared before.
func otherBounds(err error) bool {
	var e *amqp.Error
	return errors.As(err, &e) && e.Code == amqp.PreconditionFailed &&
		(strings.Contains(e.Reason, "inequivalent arg 'x-max-length'") || strings.Contains(e.Reason, "inequivalent arg 'x-delivery-limit'"))
}

// onChannel uses a channel of its own: an error of the broker closes it.
func (t *topology) onChannel(use func(*amqp.Channel) error) error {
	ch, err := t.conn.Channel()
	if err != nil {
		return fmt.Errorf("%w: %w", queue.ErrDisconnected, err)
	}
	defer ch.Close() //nolint:errcheck // a refused request has closed it already
	return use(ch)
}

// explain adds the fix to the broker's word.
func explain(err error) error {
	var e *amqp.Error
	if !errors.As(err, &e) {
		return fmt.Errorf("%w: %w", queue.ErrDisconnected, err)
	}
	switch e.Code {
	case amqp.PreconditionFailed:
		return fmt.Errorf("%w: a queue of this name exists that is none of ours: delete it, or choose another prefix: %w", queue.ErrRefused, err)
	case amqp.AccessRefused:
		return fmt.Errorf("%w: the broker's user may not declare the queues: %w", queue.ErrRefused, err)
	}
	return fmt.Errorf("%w: %w", queue.ErrDisconnected, err)
}

// young tells whether a topic was declared a moment ago on this connection. A quorum queue that somebody
// else is creating at that moment nacks until it has a leader.
func (t *topology) young(topic string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	at, ok := t.declared[topic]
	return ok && time.Since(at) < settlingIn
}

// forget makes the next ensure declare a topic anew, with its dead letters and delays, whichever of
// them it is told of: a queue was deleted under us.
func (t *topology) forget(topic string) {
	if live, dead := queue.LiveTopic(topic); dead {
		topic = live
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for key := range t.declared {
		if key == topic || strings.HasPrefix(key, topic+".") { // a topic has no dot of its own
			delete(t.declared, key)
		}
	}
}
