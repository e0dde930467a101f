package sandbox

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"headgate.example/lib/store"
)

// How callbacks are delivered.
const (
	deliverEvery   = 100 * time.Millisecond
	deliverTimeout = 5 * time.Second
	deliverBatch   = 20
	maxDeliveries  = 30 // attempts at one callback
	maxDeliverWait = 5 * time.Minute
	// deliverLease is how long claimed callbacks stay with one courier: longer than a batch takes.
	deliverLease = deliverBatch*deliverTimeout + 20*time.Second
)

// Outgoing are the callbacks to deliver; store.Store keeps them.
type Outgoing interface {
	ClaimSandboxCallbacks(ctx context.Context, limit int, lease time.Duration) ([]store.SandboxCallback, error)
	RetrySandboxCallback(ctx context.Context, id int64, after time.Duration) error
	FinishSandboxCallback(ctx context.Context, id int64) error
}

// Courier delivers callbacks. Each goes out until somebody answers 2xx, at most maxDeliveries times;
// several couriers may share the work.
type Courier struct {
	outgoing Outgoing
	notify   string
	log      *slog.Logger
	client   *http.Client
}

// NewCourier delivers to the address notify.
func NewCourier(outgoing Outgoing, notify string, log *slog.Logger) *Courier {
	return &Courier{outgoing: outgoing, notify: notify, log: log, client: &http.Client{Timeout: deliverTimeout, Transport: &http.Transport{}}}
}

// Run delivers until ctx is done.
func (c *Courier) Run(ctx context.Context) {
	defer c.client.CloseIdleConnections()
	ticker := time.NewTicker(deliverEvery)
	defer ticker.Stop()
	for {
		if err := c.round(ctx); err != nil && ctx.Err() == nil {
			c.log.Warn("the sandbox cannot deliver callbacks", "error", err)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// round delivers what is due.
func (c *Courier) round(ctx context.Context) error {
	due, err := c.outgoing.ClaimSandboxCallbacks(ctx, deliverBatch, deliverLease)
	if err != nil {
		return err
	}
	for i := range due {
		if ctx.Err() != nil {
			return nil // the lease ends, and they are due again
		}
		row := &due[i]
		taken := c.deliver(ctx, row)
		if taken || row.Once || row.Attempts >= maxDeliveries {
			err = c.outgoing.FinishSandboxCallback(ctx, row.ID)
		} else {
			err = c.outgoing.RetrySandboxCallback(ctx, row.ID, min(time.Second<<min(row.Attempts-1, 20), maxDeliverWait))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// deliver reports whether the callback was taken.
func (c *Courier) deliver(ctx context.Context, row *store.SandboxCallback) bool {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.notify, strings.NewReader(row.Body))
	if err != nil {
		c.log.Error("payment.sandbox.notify is no address", "notify", c.notify, "error", err)
		return false
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(SignatureHeader, row.Signature)
	answer, err := c.client.Do(r)
	if err != nil {
		c.log.Debug("a sandbox callback was not taken; it will be repeated", "reference", row.Reference, "error", err)
		return false
	}
	defer answer.Body.Close() //nolint:errcheck // read whole
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10))
	return answer.StatusCode/100 == 2
}
