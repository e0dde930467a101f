package embedded_test

import (
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"headgate.example/lib/queue"
	"headgate.example/lib/queue/embedded"
	"headgate.example/lib/queue/queuetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, path string, change ...func(*queue.Config)) *embedded.Queue {
	t.Helper()
	cfg := queue.DefaultConfig()
	cfg.Path = path
	for _, f := range change {
		f(&cfg)
	}
	q, err := embedded.Open(t.Context(), cfg, queuetest.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := q.Close(); err != nil {
			t.Errorf("closing the queue: %v", err)
		}
	})
	return q
}

func TestConformance(t *testing.T) {
	queuetest.Run(t, func(t *testing.T) queuetest.Opener {
		path := filepath.Join(t.TempDir(), "queue file?%41.db") // signs that mean something in an address
		return func(t *testing.T, change ...func(*queue.Config)) queue.Queue { return open(t, path, change...) }
	})
}
