package interceptor

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"slices"
	"sync"
	"testing"

	"headgate.example/counter/client"
)

// lines is a log's output.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(text)
}

func (l *lines) read(t *testing.T) (list []map[string]any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for dec := json.NewDecoder(&l.buf); dec.More(); {
		var line map[string]any
		if err := dec.Decode(&line); err != nil {
			t.Fatal(err)
		}
		list = append(list, line)
	}
	return list
}

func TestAccessLogHasOrdersFailuresAndSomeRefusals(t *testing.T) {
	var out lines
	e := newLoggedEdge(t, slog.New(slog.NewJSONHandler(&out, nil)), func(c *Config) { c.LogRefusalsPerSecond = 2 })
	accepted := e.buy("a1")
	e.accepted(accepted)
	for range 5 {
		e.refused(e.send("GET", "/api/orders", ""), 401, "unauthenticated")
	}
	e.counter.change(func() { e.counter.failOnce["RESERVE"] = client.ErrUnavailable })
	e.refused(e.buy("a2"), 503, "unavailable")
	e.send("GET", "/", "") // passed on: not logged
	list := out.read(t)
	list = slices.DeleteFunc(list, func(line map[string]any) bool { return line["request"] == nil }) // the program's own
	if len(list) != 4 {
		t.Fatalf("%d lines: %v", len(list), list)
	}
	for i, want := range []map[string]any{
		{"msg": "accepted", "level": "INFO", "code": "accepted", "order": accepted.body.OrderID, "user": "a1", "route": "reserve", "stage": "reserve", "status": 202.0,
			"request": accepted.header.Get("Headgate-Request-Id"), "address": "127.0.0.1", "target": "/api/sales/1/orders"},
		{"msg": "refused", "level": "INFO", "code": "unauthenticated", "stage": "token", "route": "orders"},
		{"msg": "refused", "level": "INFO", "code": "unauthenticated"},
		{"msg": "failed", "level": "WARN", "code": "unavailable", "cause": "RESERVE: counter unavailable", "user": "a2"},
	} {
		for name, value := range want {
			if list[i][name] != value {
				t.Errorf("line %d: %s is %v, want %v", i, name, list[i][name], value)
			}
		}
	}
}
