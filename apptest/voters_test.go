package apptest

import (
	"context"
	"testing"
	"time"

	"headgate.example/apptest/voters"
)

// startShard runs three voters until the test ends. Their logs are shown when it fails.
func startShard(t *testing.T) *voters.Shard {
	t.Helper()
	shard, err := voters.New(bin.Path("counter"), t.TempDir(), 3)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		shard.Close()
		if t.Failed() {
			for _, v := range shard.Voters {
				t.Log(v.Log())
			}
		}
	})
	if err := shard.Start(deadline(t, 30*time.Second)); err != nil {
		t.Fatal(err)
	}
	return shard
}

// deadline is a context that ends with the test, or after a time.
func deadline(t *testing.T, within time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), within)
	t.Cleanup(cancel)
	return ctx
}

// wait lets a fault last: time itself is what is tested.
func wait(t *testing.T, long time.Duration) {
	timer := time.NewTimer(long)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}
