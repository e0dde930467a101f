package queue

import "errors"

// Errors, for errors.Is. Those of outcomes come with the fate that they explain.
var (
	ErrInvalid      = errors.New("invalid queue request")                         // the caller's mistake; names the field
	ErrTooLarge     = errors.New("message too large")                             // Refused
	ErrFull         = errors.New("the queue is full")                             // Refused; drains when consumers catch up
	ErrRefused      = errors.New("the broker refused the message")                // Refused: a nack; with a bounded queue most likely full
	ErrUnroutable   = errors.New("the message could not be routed")               // Refused: the topic's queue is gone
	ErrBlocked      = errors.New("the broker takes no messages at the moment")    // Refused: memory or disk alarm
	ErrDisconnected = errors.New("not connected to the broker")                   // Refused when not sent yet, Unknown when sent; Receive: call again
	ErrTimeout      = errors.New("the queue did not answer in time")              // Refused when not sent yet, Unknown when sent
	ErrStorage      = errors.New("the queue's storage failed")                    // Refused or Unknown, as is true
	ErrStale        = errors.New("the delivery is no longer this subscription's") // settled before, or returned to the queue: it comes again
	ErrClosed       = errors.New("the queue is closed")                           // Refused; also a closed subscription
)
