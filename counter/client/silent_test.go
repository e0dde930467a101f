package client

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// A counter that takes connections and says nothing must not keep callers beyond their own time.
func TestFirstConnectEndsWithTheContext(t *testing.T) {
	for _, patience := range []time.Duration{50 * time.Millisecond, 900 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			c, err := Open(DefaultConfig(), WithDial(func(context.Context, string) (net.Conn, error) {
				conn, silent := net.Pipe()
				go func() {
					defer silent.Close()
					_, _ = io.Copy(io.Discard, silent)
				}()
				return conn, nil
			}))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			began := time.Now()
			_, err = c.Reserve(ctx, "1", "ann", 1, "")
			if took := time.Since(began); took > patience {
				t.Errorf("a call of %s took %s", patience, took)
			}
			if !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUnknown) {
				t.Errorf("a call of %s: nothing was sent, got %v", patience, err)
			}
		})
	}
}
