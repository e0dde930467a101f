package backend

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"headgate.example/lib/problem"
	"headgate.example/lib/queue"
)

// HealthPath is what edges ask, each about once a second, whether this backend is well. 200: it takes
// orders. 503 with the code `overloaded` or `unavailable`: everything but orders.
const HealthPath = "/healthz"

const (
	intakeMemory = 2 * time.Second        // how long a refused message is held against the queue
	pingTimeout  = 500 * time.Millisecond // within the edges' own patience
)

// intake remembers whether the queue takes orders, so that edges which have not met a refusal yet hear
// of it before they reserve units in vain.
type intake struct {
	queue  queue.Queue
	now    func() time.Time
	fullAt atomic.Int64 // when the queue last refused a message for being full, milliseconds; 0: it took one since
}

// learn takes in what became of a message.
func (i *intake) learn(o queue.Outcome) {
	switch {
	case o.Fate == queue.Confirmed:
		i.fullAt.Store(0)
	case o.Fate == queue.Refused && isFull(o.Err):
		i.fullAt.Store(i.now().UnixMilli())
	}
}

// isFull reports whether a queue that refused will take messages again once it has drained.
func isFull(err error) bool {
	return errors.Is(err, queue.ErrFull) || errors.Is(err, queue.ErrRefused) || errors.Is(err, queue.ErrBlocked)
}

// refusal is what an order would be told now; nil: it would be taken.
func (i *intake) refusal(ctx context.Context) *problem.Problem {
	if at := i.fullAt.Load(); at != 0 && i.now().UnixMilli()-at < intakeMemory.Milliseconds() {
		return queueRefused(queue.ErrFull)
	}
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	if err := i.queue.Ping(ctx); err != nil {
		return queueRefused(err)
	}
	return nil
}

// queueRefused is the answer to an order that the queue has not, and what edges are told beforehand.
func queueRefused(err error) *problem.Problem {
	if isFull(err) {
		return problem.New(problem.Overloaded, "The queue of orders is full. Nothing was ordered.").Because(err)
	}
	return problem.New(problem.Unavailable, "The queue cannot be reached. Nothing was ordered.").Because(err)
}

// serveHealth answers HealthPath.
func (s *Server) serveHealth(w http.ResponseWriter, r *http.Request) {
	if p := s.intake.refusal(r.Context()); p != nil {
		p.WriteHTTP(w)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
}
