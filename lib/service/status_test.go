package service

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"
)

func TestStatusOfSeveralLayers(t *testing.T) {
	one, two := NewRuntime("counter", nil), NewRuntime("backend", nil)
	one.ShowConfig(&map[string]any{"listen": "a"})
	one.Health.SetReady(true)
	one.Health.Register("disk", Degraded, func(context.Context) error { return errors.New("nearly full") })
	two.ShowConfig(&map[string]any{"listen": "b"})
	two.showRefusal(errors.New("line 3"))
	two.Health.Register("ledger", Required, func(context.Context) error { return nil })
	admin := openAdmin(t, one, two)
	before := time.Now().UnixMilli()
	status, text := get(t, "http://"+admin.Addr()+"/status")
	var list []Status
	if err := json.Unmarshal([]byte(text), &list); status != 200 || err != nil || len(list) != 2 {
		t.Fatalf("%d %v %s", status, err, text)
	}
	if s := list[0]; s.Program != "counter" || s.Version != Version() || s.ConfigHash != one.ConfigHash() || !s.Ready || s.Draining || s.ConfigRefused != "" ||
		len(s.Probes) != 1 || s.Probes[0] != (ProbeStatus{Name: "disk", Problem: "nearly full"}) {
		t.Errorf("%+v", s)
	}
	if s := list[1]; s.Program != "backend" || s.Ready || s.Started || s.ConfigRefused != "line 3" || len(s.Probes) != 1 || s.Probes[0] != (ProbeStatus{Name: "ledger", Required: true}) {
		t.Errorf("%+v", s)
	}
	for _, s := range list {
		if s.Time < before || s.Time > time.Now().UnixMilli() || s.Took < 0 {
			t.Errorf("the time is %d after %d, %d µs", s.Time, before, s.Took)
		}
	}
}
