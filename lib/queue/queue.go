package queue

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Limits of the contract. Messages beyond them are Refused.
const (
	MaxBodyBytes    = 64 << 10           // bytes of one message's body
	MaxIDBytes      = 128                // bytes of a message's id
	MaxDelay        = 7 * 24 * time.Hour // longest delay of a message
	MaxMessages     = 10_000             // messages of one Publish
	MaxTopicBytes   = 64                 // bytes of a topic, without the suffix of its dead letters
	MaxReasonBytes  = 500                // bytes of a dead letter's reason; longer ones are cut
	MaxPrefetch     = 50_000             // unsettled deliveries of one subscription
	MaxLinger       = 10 * time.Second   // longest wait for more after the first delivery of a batch
	deadSuffix      = ".dead"
	defaultPrefetch = 4 // batches
)

// Queue is a handle to a message store or broker. Its methods are safe for concurrent use.
type Queue interface {
	// Publish stores messages durably under a topic and gives one outcome for each, in their order.
	// Concurrent callers share commits. It waits for the outcomes until ctx or the configured publish
	// time-out ends; what is on its way by then is Unknown, what never left is Refused. Messages are
	// independent: one may be refused while the next is confirmed.
	Publish(ctx context.Context, topic string, messages []Message) []Outcome

	// Subscribe opens a subscription to a topic, or to a topic's dead letters. Several subscriptions
	// to one topic share its messages. The broker need not be there yet.
	Subscribe(ctx context.Context, topic string, options SubscribeOptions) (Subscription, error)

	// Depth counts what is stored under a topic.
	Depth(ctx context.Context, topic string) (Depth, error)

	// Ping is nil when messages can be published now, as far as can be known without publishing one.
	Ping(ctx context.Context) error

	// Close ends every subscription and waits for what is in flight. Publish then refuses. It may be
	// called again.
	Close() error
}

// Message is what is published.
type Message struct {
	ID    string        // for logs and dead letters; need not be unique; at most MaxIDBytes
	Body  []byte        // at most MaxBodyBytes; the caller may reuse it only after Publish has returned and the fate is not Unknown
	Delay time.Duration // deliver no sooner than this after the publish; 0: at once; a driver may round it up
}

// Fate is what became of a published message.
type Fate int

// The fates. The zero value is Unknown: an outcome that nobody filled in claims nothing.
const (
	Unknown   Fate = iota // it may be stored or not
	Confirmed             // stored durably
	Refused               // certainly not stored, and will not be
)

// String is the fate in lower case, as metrics and logs show it.
func (f Fate) String() string {
	switch f {
	case Unknown:
		return "unknown"
	case Confirmed:
		return "confirmed"
	case Refused:
		return "refused"
	}
	return fmt.Sprintf("Fate(%d)", int(f))
}

// Outcome is one message's fate. Err is nil exactly when the fate is Confirmed, and else says why.
type Outcome struct {
	Fate Fate
	Err  error
}

// SubscribeOptions bound what a subscription holds. Zero values mean the defaults.
type SubscribeOptions struct {
	BatchSize int           // most deliveries of one Receive; default 1
	Linger    time.Duration // longest wait for more after the first delivery of a batch; default 0, at most MaxLinger
	Prefetch  int           // most unsettled deliveries; Receive waits at the limit; default 4 batches, at least one, at most MaxPrefetch
}

// WithDefaults fills in defaults and refuses options that cannot be met.
func (o SubscribeOptions) WithDefaults() (SubscribeOptions, error) {
	if o.BatchSize == 0 {
		o.BatchSize = 1
	}
	if o.Prefetch == 0 {
		o.Prefetch = min(defaultPrefetch*max(o.BatchSize, 1), MaxPrefetch)
	}
	switch {
	case o.BatchSize < 1 || o.BatchSize > MaxPrefetch:
		return o, fmt.Errorf("%w: batch size %d: want 1 to %d", ErrInvalid, o.BatchSize, MaxPrefetch)
	case o.Prefetch < o.BatchSize || o.Prefetch > MaxPrefetch:
		return o, fmt.Errorf("%w: prefetch %d: want at least the batch size (%d) and at most %d", ErrInvalid, o.Prefetch, o.BatchSize, MaxPrefetch)
	case o.Linger < 0 || o.Linger > MaxLinger:
		return o, fmt.Errorf("%w: linger %s: want 0 to %s", ErrInvalid, o.Linger, MaxLinger)
	}
	return o, nil
}

// Delivery is one message in the hands of a subscriber. It is a value; copies are the same delivery.
type Delivery struct {
	ID          string
	Body        []byte    // the subscriber's own
	Attempts    int       // deliveries so far, this one included: 1 for the first; at least that many
	PublishedAt time.Time // the first publish, to the millisecond, UTC
	Reason      string    // why it was dead-lettered; "" on other topics

	Tag Tag // the driver's own
}

// Tag tells a driver which delivery of which subscription is meant. It is opaque to everybody else.
type Tag struct {
	Session int64
	Number  uint64
}

// Subscription receives and settles deliveries. Receive is for one goroutine at a time; settling is
// safe from any, also while Receive waits.
//
// Settling is at least once: a crash of the broker or the machine right after a settling call has
// returned may bring the delivery again, but no settling call loses a message.
type Subscription interface {
	// Receive waits for a delivery, then at most Linger for more, and returns 1 to BatchSize of them.
	// It waits while Prefetch deliveries are unsettled. Errors: ctx's own; ErrDisconnected while the
	// broker is away (call again: it reconnects by itself and waits between attempts); ErrClosed.
	Receive(ctx context.Context) ([]Delivery, error)

	// Ack removes deliveries. With ErrStale, the ones that were not stale have been removed.
	Ack(ctx context.Context, deliveries ...Delivery) error

	// HoldBack takes deliveries out of the subscription and delivers them again, durably, no sooner
	// than after delay. A driver may round the delay up.
	HoldBack(ctx context.Context, delay time.Duration, deliveries ...Delivery) error

	// DeadLetter moves deliveries to the topic's dead letters. It is not for dead letters themselves.
	DeadLetter(ctx context.Context, reason string, deliveries ...Delivery) error

	// Close returns what was not settled to the queue. It may be called again.
	Close() error
}

// UnknownCount stands in a Depth for a figure that the driver cannot learn.
const UnknownCount = -1

// Depth counts the messages of a topic. Figures of a broker are as of slightly different moments.
type Depth struct {
	Ready   int // can be delivered now
	Unacked int // delivered, not settled; UnknownCount when the broker does not tell
	Delayed int // wait for their time
	Dead    int // dead letters, delivered ones included as far as the driver can tell
}

// Empty says that nothing is known to be stored except dead letters. Where Unacked is unknown, a
// consumer may still hold something: whoever audits allows for that with a time of grace.
func (d Depth) Empty() bool { return d.Ready == 0 && d.Unacked <= 0 && d.Delayed == 0 }

// String is the depth in words, with `unknown` for what the driver cannot learn.
func (d Depth) String() string {
	unacked := strconv.Itoa(d.Unacked)
	if d.Unacked == UnknownCount {
		unacked = "unknown"
	}
	return fmt.Sprintf("ready %d, unacked %s, delayed %d, dead %d", d.Ready, unacked, d.Delayed, d.Dead)
}

// DeadTopic is the topic of another topic's dead letters.
func DeadTopic(topic string) string { return topic + deadSuffix }

// LiveTopic is the inverse of DeadTopic; ok is false when the topic is not one of dead letters.
func LiveTopic(topic string) (live string, ok bool) { return strings.CutSuffix(topic, deadSuffix) }

// CheckTopic accepts 1 to MaxTopicBytes letters a-z, digits, '_' and '-'.
func CheckTopic(topic string) error {
	ok := topic != "" && len(topic) <= MaxTopicBytes
	for i := 0; ok && i < len(topic); i++ {
		c := topic[i]
		ok = c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '-'
	}
	if !ok {
		return fmt.Errorf("%w: topic %.80q: want 1 to %d letters a-z, digits, '_' or '-'", ErrInvalid, topic, MaxTopicBytes)
	}
	return nil
}

// CheckMessage tells why a message cannot be published.
func CheckMessage(m *Message) error {
	switch {
	case len(m.Body) > MaxBodyBytes:
		return fmt.Errorf("%w: body of %d bytes: want at most %d", ErrTooLarge, len(m.Body), MaxBodyBytes)
	case len(m.ID) > MaxIDBytes:
		return fmt.Errorf("%w: id of %d bytes: want at most %d", ErrTooLarge, len(m.ID), MaxIDBytes)
	case m.Delay < 0 || m.Delay > MaxDelay:
		return fmt.Errorf("%w: delay %s: want 0 to %s", ErrInvalid, m.Delay, MaxDelay)
	}
	return nil
}

// CutReason bounds a dead letter's reason and makes it valid UTF-8.
func CutReason(reason string) string {
	if len(reason) > MaxReasonBytes {
		reason = reason[:MaxReasonBytes]
	}
	return strings.ToValidUTF8(reason, "")
}

// RefuseAll gives n outcomes Refused for one reason.
func RefuseAll(n int, err error) []Outcome { return all(n, Outcome{Refused, err}) }

// ConfirmAll gives n outcomes Confirmed.
func ConfirmAll(n int) []Outcome { return all(n, Outcome{Fate: Confirmed}) }

func all(n int, o Outcome) []Outcome {
	outcomes := make([]Outcome, n)
	for i := range outcomes {
		outcomes[i] = o
	}
	return outcomes
}
