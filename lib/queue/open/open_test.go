package open_test

import (
	"path/filepath"
	"strings"
	"testing"

	"headgate.example/lib/queue"
	"headgate.example/lib/queue/open"
	"headgate.example/lib/queue/queuetest"
)

func TestOpen(t *testing.T) {
	cfg := queue.DefaultConfig()
	cfg.Path = filepath.Join(t.TempDir(), "new", "folder", "queue.db")
	q, err := open.Open(t.Context(), cfg, queuetest.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
	cfg.Driver, cfg.URL = queue.RabbitMQ, "amqp://127.0.0.1:1/" // nobody listens: that is no error yet
	q, err = open.Open(t.Context(), cfg, queuetest.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
	cfg.Driver = "kafka"
	if _, err := open.Open(t.Context(), cfg, queuetest.Log(t)); err == nil || !strings.Contains(err.Error(), "driver") {
		t.Errorf("error %v, want one that names the field", err)
	}
}
