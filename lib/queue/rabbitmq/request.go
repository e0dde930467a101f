package rabbitmq

import (
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"headgate.example/lib/queue"
)

// Headers of our messages.
const (
	headerPublished = "headgate-published-ms" // first publish, ms since 1970
	headerAttempts  = "headgate-attempts"     // deliveries before this copy was made
	headerReason    = "headgate-reason"       // why it was dead-lettered
)

// letter is a message as the broker gets it.
type letter struct {
	exchange, key string
	delay         time.Duration // a step of the ladder; 0: none
	content       amqp.Publishing
}

func (q *Queue) newLetter(topic string, m *queue.Message) letter {
	l := letter{exchange: q.names.exchange(), key: topic, content: amqp.Publishing{
		DeliveryMode: amqp.Persistent,
		ContentType:  "application/json",
		MessageId:    m.ID,
		Headers:      amqp.Table{headerPublished: time.Now().UnixMilli()},
		Body:         m.Body,
	}}
	l.postpone(topic, m.Delay)
	return l
}

func (l *letter) postpone(topic string, delay time.Duration) {
	if delay > 0 {
		l.delay = roundUp(delay)
		l.key = delayKey(topic, l.delay)
	}
}

// state of one letter of a request; see DESIGN.md.
type state int8

const (
	queued state = iota
	written
	settled
)

// request is the letters of one call. Lanes and the caller share it.
type request struct {
	topic   string
	letters []letter
	done    chan struct{} // closed when every letter is settled

	mu       sync.Mutex
	states   []state
	outcomes []queue.Outcome
	open     int  // letters that are not settled
	left     bool // the caller has gone; nothing may be written for it any more
}

func newRequest(topic string, letters []letter) *request {
	return &request{
		topic: topic, letters: letters, done: make(chan struct{}),
		states: make([]state, len(letters)), outcomes: make([]queue.Outcome, len(letters)), open: len(letters),
	}
}

// claim takes a letter for writing; false when it is not queued any more.
func (r *request) claim(i int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.states[i] != queued {
		return false
	}
	r.states[i] = written
	return true
}

// unclaim puts back a letter that certainly is not stored: nothing of it was written, or it was nacked.
func (r *request) unclaim(i int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.states[i] != written {
		return
	}
	if r.left {
		r.finish(i, queue.Outcome{Fate: queue.Refused, Err: queue.ErrRefused}) // nobody looks
		return
	}
	r.states[i] = queued
}

// settle gives a written letter its outcome, once.
func (r *request) settle(i int, o queue.Outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.states[i] == written {
		r.finish(i, o)
	}
}

// abandon refuses every letter that is still queued, and tells whether there was one.
func (r *request) abandon(why error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	any := false
	for i, s := range r.states {
		if s == queued {
			any = true
			r.finish(i, queue.Outcome{Fate: queue.Refused, Err: why})
		}
	}
	return any
}

func (r *request) finish(i int, o queue.Outcome) {
	r.states[i], r.outcomes[i] = settled, o
	if r.open--; r.open == 0 {
		close(r.done)
	}
}

// waiting tells whether a letter is still queued.
func (r *request) waiting() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.states {
		if s == queued {
			return true
		}
	}
	return false
}

// giveUp refuses what is queued and leaves what is written unknown. The result is the caller's own.
func (r *request) giveUp(why error) []queue.Outcome {
	r.abandon(why)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left = true
	outcomes := append([]queue.Outcome(nil), r.outcomes...)
	for i, s := range r.states {
		if s != settled {
			outcomes[i] = queue.Outcome{Fate: queue.Unknown, Err: why}
		}
	}
	return outcomes
}
