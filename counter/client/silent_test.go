package client

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"
)

// A counter that takes connections and says nothing must not keep callers beyond their own time.
func TestFirstConnectEndsWithTheContext(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	cfg := DefaultConfig()
	cfg.Shards[0].Addresses = []string{silent.Addr().String()}
	c, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err = c.Reserve(ctx, "1", "ann", 1, "")
	if took := time.Since(began); took > 500*time.Millisecond {
		t.Errorf("a call of 50 ms took %s", took)
	}
	if !errors.Is(err, ErrUnavailable) {
		t.Errorf("nothing was sent, got %v", err)
	}
}
