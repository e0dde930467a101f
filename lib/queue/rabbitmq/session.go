package rabbitmq

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"headgate.example/lib/queue"
)

// session is one connection of a subscription. Its deliveries are void when it ends.
type session struct {
	number     int64
	conn       *connection
	ch         *amqp.Channel
	deliveries <-chan amqp.Delivery
	closed     chan *amqp.Error
	cancelled  chan string

	mu   sync.Mutex
	held map[uint64]*holding // by delivery tag: what is not settled
}

// holding is a delivery in the subscriber's hands.
type holding struct {
	delivery *amqp.Delivery
	claimed  bool // somebody is settling it
}

// open connects, declares the topic and begins to consume.
func (s *subscription) open() (*session, error) {
	conn, err := dial(s.ctx, s.q.config.URL.Reveal(), s.q.config.Prefix+" consumer of "+s.topic)
	if err != nil {
		return nil, err
	}
	var session *session
	err = conn.during(s.ctx, func() (err error) {
		session, err = s.consume(conn)
		return err
	})
	if err != nil {
		conn.hangUp()
		return nil, err
	}
	return session, nil
}

func (s *subscription) consume(conn *connection) (*session, error) {
	live, dead := queue.LiveTopic(s.topic)
	name := s.q.names.queue(s.topic)
	if dead {
		name = s.q.names.dead(live)
	} else {
		live = s.topic
	}
	if err := newTopology(s.q.config, conn, s.q.log).ensure(live, 0); err != nil {
		return nil, err
	}
	ch, err := conn.Channel()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", queue.ErrDisconnected, err)
	}
	session := &session{
		number: s.q.sessions.Add(1), conn: conn, ch: ch, held: map[uint64]*holding{},
		closed:    ch.NotifyClose(make(chan *amqp.Error, 1)),
		cancelled: ch.NotifyCancel(make(chan string, 1)),
	}
	if err := ch.Qos(s.options.Prefetch, 0, false); err != nil {
		return nil, fmt.Errorf("%w: %w", queue.ErrDisconnected, err)
	}
	if session.deliveries, err = ch.Consume(name, "", false, false, false, false, nil); err != nil {
		return nil, fmt.Errorf("%w: %w", queue.ErrDisconnected, err)
	}
	return session, nil
}

// close ends the session; the broker takes back what is not settled.
func (s *session) close() {
	s.conn.hangUp()
	for range s.deliveries { // the client's goroutine ends when this is empty
	}
}

// why says what ended the session.
func (s *session) why() error {
	select {
	case name := <-s.cancelled:
		if name != "" {
			return fmt.Errorf("%w: the queue was deleted or moved", queue.ErrDisconnected)
		}
	default:
	}
	select {
	case e := <-s.closed:
		if e != nil {
			return fmt.Errorf("%w: %w", queue.ErrDisconnected, e)
		}
	default:
	}
	return fmt.Errorf("%w: connection lost", queue.ErrDisconnected)
}

// take notes a delivery as held and translates it.
func (s *session) take(d *amqp.Delivery) queue.Delivery {
	s.mu.Lock()
	s.held[d.DeliveryTag] = &holding{delivery: d}
	s.mu.Unlock()
	body := d.Body
	if body == nil {
		body = []byte{}
	}
	return queue.Delivery{
		ID:          d.MessageId,
		Body:        body,
		Attempts:    attempts(d),
		PublishedAt: time.UnixMilli(number(d.Headers[headerPublished])).UTC(),
		Reason:      reason(d),
		Tag:         queue.Tag{Session: s.number, Number: d.DeliveryTag},
	}
}

// claim reserves held deliveries for settling. Those that are not held, or claimed already, are left
// out. Claims end with ack or restore.
func (s *session) claim(deliveries []queue.Delivery) (tags []uint64, originals []*amqp.Delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range deliveries {
		h, ok := s.held[d.Tag.Number]
		if !ok || h.claimed || d.Tag.Session != s.number {
			continue
		}
		h.claimed = true
		tags, originals = append(tags, d.Tag.Number), append(originals, h.delivery)
	}
	return tags, originals
}

// restore gives up a claim: the delivery could not be settled.
func (s *session) restore(tag uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h, ok := s.held[tag]; ok {
		h.claimed = false
	}
}

// ack acknowledges claimed deliveries: with one frame up to the highest tag below which nothing else is
// held, and the rest one by one. They leave held only afterwards, so that no concurrent call's frame
// covers them.
func (s *session) ack(tags []uint64) error {
	if len(tags) == 0 {
		return nil
	}
	slices.Sort(tags)
	together := s.together(tags)
	var err error
	if together > 0 {
		err = s.ch.Ack(tags[together-1], true)
	}
	for _, tag := range tags[together:] {
		if err == nil {
			err = s.ch.Ack(tag, false)
		}
	}
	s.mu.Lock()
	for _, tag := range tags {
		delete(s.held, tag)
	}
	s.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%w: the connection was lost: %w", queue.ErrStale, err)
	}
	return nil
}

// together counts the leading tags, of sorted ones, with no other held tag below them.
func (s *session) together(tags []uint64) int {
	mine := make(map[uint64]bool, len(tags))
	for _, tag := range tags {
		mine[tag] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	lowest := uint64(math.MaxUint64)
	for tag := range s.held {
		if !mine[tag] {
			lowest = min(lowest, tag)
		}
	}
	n, _ := slices.BinarySearch(tags, lowest)
	return n
}

// copyOf makes a publishable copy that remembers its deliveries.
func copyOf(d *amqp.Delivery) *amqp.Publishing {
	headers := amqp.Table{
		headerPublished: number(d.Headers[headerPublished]),
		headerAttempts:  int64(attempts(d)),
	}
	if text := reason(d); text != "" {
		headers[headerReason] = text
	}
	return &amqp.Publishing{
		DeliveryMode: amqp.Persistent, ContentType: d.ContentType, MessageId: d.MessageId, Headers: headers, Body: d.Body,
	}
}

// attempts counts this delivery, earlier ones of this copy (the broker's count), and those of copies
// before it.
func attempts(d *amqp.Delivery) int {
	return int(number(d.Headers[headerAttempts])) + int(number(d.Headers["x-delivery-count"])) + 1
}

// reason is ours, or what the broker noted when it dead-lettered by itself.
func reason(d *amqp.Delivery) string {
	if text, ok := d.Headers[headerReason].(string); ok {
		return text
	}
	deaths, ok := d.Headers["x-death"].([]any)
	if !ok {
		return ""
	}
	for _, entry := range deaths {
		if death, ok := entry.(amqp.Table); ok && death["reason"] != "expired" { // expiry is how delays end
			return fmt.Sprintf("the broker dead-lettered it: %v", death["reason"])
		}
	}
	return ""
}

// number reads a header of any integer type; 0 when it is none.
func number(v any) int64 {
	switch n := v.(type) {
	case int64:
		return n
	case int32:
		return int64(n)
	case int16:
		return int64(n)
	case int:
		return int64(n)
	case uint8:
		return int64(n)
	case int8:
		return int64(n)
	}
	return 0
}
