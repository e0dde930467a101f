package embedded

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"headgate.example/lib/queue"
)

// A request is one Publish call. Whoever moves it out of waiting decides: the writer takes it, or its
// caller abandons it.
type request struct {
	topic    string
	messages []queue.Message
	state    atomic.Int32
	outcomes []queue.Outcome // the writer's until done is closed
	done     chan struct{}
}

const (
	waiting int32 = iota
	taken
	abandoned
)

// Publish implements queue.Queue.
func (q *Queue) Publish(ctx context.Context, topic string, messages []queue.Message) []queue.Outcome {
	if len(messages) == 0 {
		return nil
	}
	if err := queue.CheckTopic(topic); err != nil {
		return queue.RefuseAll(len(messages), err)
	}
	if len(messages) > queue.MaxMessages {
		return queue.RefuseAll(len(messages), fmt.Errorf("%w: %d messages at once: want at most %d", queue.ErrInvalid, len(messages), queue.MaxMessages))
	}
	if err := ctx.Err(); err != nil {
		return queue.RefuseAll(len(messages), err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, q.config.PublishTimeout, queue.ErrTimeout)
	defer cancel()
	r := &request{topic: topic, messages: messages, done: make(chan struct{})}
	select {
	case q.publish.requests <- r:
	case <-ctx.Done():
		return queue.RefuseAll(len(messages), context.Cause(ctx))
	case <-q.closing:
		return queue.RefuseAll(len(messages), queue.ErrClosed)
	}
	var why error
	select {
	case <-r.done:
		return r.outcomes
	case <-ctx.Done():
		why = context.Cause(ctx)
	case <-q.publish.ended:
		why = queue.ErrClosed
	}
	if r.state.CompareAndSwap(waiting, abandoned) {
		return queue.RefuseAll(len(messages), why)
	}
	select {
	case <-r.done:
		return r.outcomes
	default:
	}
	outcomes := make([]queue.Outcome, len(messages))
	for i := range outcomes {
		outcomes[i].Err = why // Unknown: the transaction is under way
	}
	return outcomes
}

// publisher is the writer goroutine's state.
type publisher struct {
	q        *Queue
	requests chan *request
	ended    chan struct{}
	conn     *sql.Conn
	insert   *sql.Stmt
	count    *sql.Stmt
	room     map[place]*room
}

// place is where messages of a topic wait: ready, or for their time. Each has a bound of its own.
type place struct {
	topic   string
	delayed bool
}

// room is how many messages a place still takes, before they have to be counted anew.
type room struct {
	left      int
	countedAt time.Time
}

func newPublisher(ctx context.Context, q *Queue) (*publisher, error) {
	p := &publisher{q: q, requests: make(chan *request, maxWaiting), ended: make(chan struct{}), room: map[place]*room{}}
	var err error
	if p.conn, err = prepare(ctx, q.db, "FULL"); err != nil {
		return nil, err
	}
	if p.insert, err = p.conn.PrepareContext(ctx, `INSERT INTO message (topic, visible_at, published_at, id, body) VALUES (?, ?, ?, ?, ?)`); err != nil {
		return nil, errors.Join(err, p.conn.Close())
	}
	p.count, err = p.conn.PrepareContext(ctx, `SELECT count(*) FROM (SELECT 1 FROM message WHERE topic = ? AND visible_at BETWEEN ? AND ? LIMIT ?)`)
	if err != nil {
		return nil, errors.Join(err, p.conn.Close())
	}
	return p, nil
}

// run writes until the handle closes, then refuses what waits.
func (p *publisher) run() {
	defer close(p.ended)
	var batch []*request
	for {
		var r *request
		select {
		case r = <-p.requests:
		case <-p.q.closing:
			return // callers see ended, and abandon what was not taken
		}
		batch = p.gather(batch[:0], r)
		p.write(batch)
		if len(p.requests) > 0 {
			time.Sleep(commitGap)
		}
	}
}

// gather takes the first request and whatever else waits, up to maxCommit messages.
func (p *publisher) gather(batch []*request, r *request) []*request {
	messages := 0
	for {
		if r.state.CompareAndSwap(waiting, taken) {
			batch = append(batch, r)
			messages += len(r.messages)
		}
		if messages >= maxCommit {
			return batch
		}
		select {
		case r = <-p.requests:
		default:
			return batch
		}
	}
}

// write runs one transaction and tells every caller its outcomes.
func (p *publisher) write(batch []*request) {
	if len(batch) == 0 {
		return
	}
	fate, err := p.transact(batch)
	topics := make([]string, 0, 1)
	for _, r := range batch {
		for i := range r.outcomes {
			if r.outcomes[i].Err == nil {
				r.outcomes[i] = queue.Outcome{Fate: fate, Err: err}
			}
		}
		if fate == queue.Confirmed && !slices.Contains(topics, r.topic) {
			topics = append(topics, r.topic)
		}
		close(r.done)
	}
	for _, topic := range topics {
		p.q.wake(topic)
	}
	if err != nil {
		p.q.log.Error("queue: publishing failed", "fate", fate, "calls", len(batch), "error", err)
	}
}

// transact gives the fate of every message that has no outcome of its own yet.
func (p *publisher) transact(batch []*request) (queue.Fate, error) {
	for _, r := range batch {
		r.outcomes = make([]queue.Outcome, len(r.messages))
	}
	if err := begin(context.Background(), p.conn, p.q.config.PublishTimeout/2); err != nil {
		return queue.Refused, err
	}
	now := p.q.now().UnixMilli()
	for _, r := range batch {
		if err := p.insertAll(r, now); err != nil {
			_ = rollback(p.conn) // fails when SQLite has rolled back by itself
			if isFull(err) {
				return queue.Refused, fmt.Errorf("%w: no space on the disk: %w", queue.ErrFull, err)
			}
			return queue.Refused, fmt.Errorf("%w: insert: %w", queue.ErrStorage, err)
		}
	}
	if err := commit(p.conn); err != nil {
		clear(p.room)
		return queue.Unknown, err
	}
	return queue.Confirmed, nil
}

func (p *publisher) insertAll(r *request, now int64) error {
	ctx := context.Background()
	for i := range r.messages {
		m := &r.messages[i]
		if err := queue.CheckMessage(m); err != nil {
			r.outcomes[i] = queue.Outcome{Fate: queue.Refused, Err: err}
			continue
		}
		visibleAt := int64(0)
		if m.Delay > 0 {
			visibleAt = now + (m.Delay + time.Millisecond - 1).Milliseconds()
		}
		ok, err := p.take(place{r.topic, m.Delay > 0}, now)
		if err != nil {
			return err
		}
		if !ok {
			r.outcomes[i] = queue.Outcome{Fate: queue.Refused, Err: queue.ErrFull}
			continue
		}
		body := m.Body
		if body == nil {
			body = []byte{}
		}
		if _, err := p.insert.ExecContext(ctx, r.topic, visibleAt, now, m.ID, body); err != nil {
			return err
		}
	}
	return nil
}

// take says whether a place has room for one more message. Counting is too dear for every message, so a
// count grants the room that it finds: all of it when little is left, else half, since other handles
// publish too.
func (p *publisher) take(at place, now int64) (bool, error) {
	limit := p.q.config.MaxReady
	if limit == 0 {
		return true, nil
	}
	r := p.room[at]
	if r == nil {
		r = &room{}
		p.room[at] = r
	}
	if r.left == 0 {
		const fine, recount = 4096, 50 * time.Millisecond
		if time.Since(r.countedAt) < recount && limit > fine {
			return false, nil // was full a moment ago
		}
		from, to := int64(0), now
		if at.delayed {
			from, to = now+1, math.MaxInt64
		}
		var there int
		if err := p.count.QueryRowContext(context.Background(), at.topic, from, to, limit).Scan(&there); err != nil {
			return false, err
		}
		r.left, r.countedAt = limit-there, time.Now()
		if r.left > fine {
			r.left /= 2
		}
	}
	if r.left <= 0 {
		return false, nil
	}
	r.left--
	return true, nil
}
