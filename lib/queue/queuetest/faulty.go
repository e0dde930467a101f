package queuetest

import (
	"context"
	"errors"
	"sync"
	"time"

	"headgate.example/lib/queue"
)

// ErrScripted is wrapped by every fault that Faulty plays.
var ErrScripted = errors.New("scripted fault")

// Step is what happens to one published message.
type Step int

// The steps of a script.
const (
	Pass             Step = iota // published as if nothing were wrong
	Refuse                       // Refused, and not published
	UnknownStored                // published, but the caller is told Unknown: a lost confirm
	UnknownLost                  // not published, and the caller is told Unknown: a lost connection
	UnknownDuplicate             // published twice, and the caller is told Unknown
)

// Faulty decorates a queue with faults. Without a script it only passes through. It is safe for
// concurrent use.
type Faulty struct {
	queue.Queue

	mu       sync.Mutex
	script   []Step
	decide   func(topic string, m queue.Message) Step
	settling []error
	receive  []error
}

var _ queue.Queue = (*Faulty)(nil)

// NewFaulty decorates a queue. Close closes it.
func NewFaulty(q queue.Queue) *Faulty { return &Faulty{Queue: q} }

// Script plays one step for each of the next messages, after those of earlier calls.
func (f *Faulty) Script(steps ...Step) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.script = append(f.script, steps...)
}

// Decide chooses the step of each message that the script does not cover; nil passes all.
func (f *Faulty) Decide(decide func(topic string, m queue.Message) Step) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.decide = decide
}

// FailSettling makes the next settling calls (Ack, HoldBack, DeadLetter) of any subscription fail with
// these errors, one each, without doing anything. A nil error lets its call pass.
func (f *Faulty) FailSettling(errs ...error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.settling = append(f.settling, errs...)
}

// FailReceive makes the next Receive calls fail likewise.
func (f *Faulty) FailReceive(errs ...error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.receive = append(f.receive, errs...)
}

// Publish plays the script.
func (f *Faulty) Publish(ctx context.Context, topic string, messages []queue.Message) []queue.Outcome {
	outcomes := make([]queue.Outcome, len(messages))
	steps := f.steps(topic, messages)
	var pass []queue.Message
	var origin []int
	for i, step := range steps {
		switch step {
		case Refuse:
			outcomes[i] = queue.Outcome{Fate: queue.Refused, Err: ErrScripted}
			continue
		case UnknownLost:
			outcomes[i] = queue.Outcome{Err: ErrScripted}
			continue
		case UnknownDuplicate:
			pass, origin = append(pass, messages[i]), append(origin, i)
		case Pass, UnknownStored:
		}
		pass, origin = append(pass, messages[i]), append(origin, i)
	}
	for j, outcome := range f.Queue.Publish(ctx, topic, pass) {
		if i := origin[j]; steps[i] == Pass {
			outcomes[i] = outcome
		} else {
			outcomes[i] = queue.Outcome{Err: ErrScripted}
		}
	}
	return outcomes
}

func (f *Faulty) steps(topic string, messages []queue.Message) []Step {
	f.mu.Lock()
	defer f.mu.Unlock()
	steps := make([]Step, len(messages))
	for i := range messages {
		switch {
		case len(f.script) > 0:
			steps[i], f.script = f.script[0], f.script[1:]
		case f.decide != nil:
			steps[i] = f.decide(topic, messages[i])
		}
	}
	return steps
}

// Subscribe decorates the subscription.
func (f *Faulty) Subscribe(ctx context.Context, topic string, options queue.SubscribeOptions) (queue.Subscription, error) {
	s, err := f.Queue.Subscribe(ctx, topic, options)
	if err != nil {
		return nil, err
	}
	return &faultySubscription{s, f}, nil
}

type faultySubscription struct {
	queue.Subscription
	f *Faulty
}

func (s *faultySubscription) Receive(ctx context.Context) ([]queue.Delivery, error) {
	if err := s.f.next(&s.f.receive); err != nil {
		return nil, err
	}
	return s.Subscription.Receive(ctx)
}

func (s *faultySubscription) Ack(ctx context.Context, deliveries ...queue.Delivery) error {
	if err := s.f.next(&s.f.settling); err != nil {
		return err
	}
	return s.Subscription.Ack(ctx, deliveries...)
}

func (s *faultySubscription) HoldBack(ctx context.Context, delay time.Duration, deliveries ...queue.Delivery) error {
	if err := s.f.next(&s.f.settling); err != nil {
		return err
	}
	return s.Subscription.HoldBack(ctx, delay, deliveries...)
}

func (s *faultySubscription) DeadLetter(ctx context.Context, reason string, deliveries ...queue.Delivery) error {
	if err := s.f.next(&s.f.settling); err != nil {
		return err
	}
	return s.Subscription.DeadLetter(ctx, reason, deliveries...)
}

func (f *Faulty) next(list *[]error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(*list) == 0 {
		return nil
	}
	err := (*list)[0]
	*list = (*list)[1:]
	return err
}
