package backend_test

import (
	"testing"

	"headgate.example/lib/queue"
	"headgate.example/lib/queue/open"
	"headgate.example/lib/service/servicetest"
)

// openQueue opens the real queue; the server closes it.
func openQueue(t *testing.T, cfg queue.Config) queue.Queue {
	t.Helper()
	q, err := open.Open(t.Context(), cfg, servicetest.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	return q
}
