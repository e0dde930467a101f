package revocations

import (
	"context"
	"time"
)

// Revoker is what Void needs of the counter's client.
type Revoker interface {
	Revoke(ctx context.Context, user string, beforeMillis int64) error
}

// Void voids every token of the user that was issued until now, by the caller's clock. Whoever signs in from
// the time that it gives on, by this clock, gets one that holds. Repeating it is harmless.
func Void(ctx context.Context, counter Revoker, user string, now time.Time) (before time.Time, err error) {
	before = time.UnixMilli(now.UnixMilli() + 1) // tokens of this very millisecond, too
	return before, counter.Revoke(ctx, user, before.UnixMilli())
}
