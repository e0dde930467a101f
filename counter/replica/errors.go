package replica

import "errors"

// How a command can fail. What a command decided, refusals included, is a machine.Result instead.
var (
	// ErrBusy: the queue for the log is full. Certainly not done.
	ErrBusy = errors.New("too many commands wait for the log")
	// ErrNotAccepted: certainly not done, safe to repeat. It wraps the reason.
	ErrNotAccepted = errors.New("not accepted")
	// ErrUnknown: the command may have been done, or may be yet.
	ErrUnknown = errors.New("outcome unknown")
)

// NotLeaderError says that another voter leads, and where it answers clients. Certainly not done.
type NotLeaderError struct{ Client string }

func (e *NotLeaderError) Error() string { return "the leader is " + e.Client }
