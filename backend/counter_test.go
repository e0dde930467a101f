package backend_test

import (
	"context"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"headgate.example/backend"
	"headgate.example/backend/agreement"
	"headgate.example/counter"
	"headgate.example/counter/client"
	"headgate.example/lib/sale"
	"headgate.example/lib/service"
	"headgate.example/lib/service/servicetest"
	"headgate.example/lib/store"
)

// runCounter runs a real counter on a folder until the function that it gives is called.
func runCounter(t *testing.T, address, dir string) func() {
	t.Helper()
	cfg := counter.DefaultConfig()
	cfg.Listen, cfg.RaftListen, cfg.DataDir, cfg.Bootstrap, cfg.Service.Admin = address, "", dir, true, ""
	server, err := counter.Open(t.Context(), cfg, service.NewRuntime("counter", servicetest.Log(t)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("stopping the counter: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// TestRestartOfEitherSide: with a real counter, whatever was intended while one side was away is done
// once both are there; and a counter that comes back empty alarms and is not reopened.
func TestRestartOfEitherSide(t *testing.T) {
	address, dir := servicetest.FreePort(t), t.TempDir()
	stopCounter := runCounter(t, address, filepath.Join(dir, "first"))
	cfg := testConfig(dir)
	cfg.Counter.Shards[0].Addresses = []string{address}
	cfg.Counter.Timeout = 500 * time.Millisecond
	ledger, stopBackend := runBackend(t, cfg)
	s := ledgerOnly{t, ledger}

	s.open("1")
	s.acknowledged("1", 2)
	stopCounter()
	s.pause("1")
	stopCounter = runCounter(t, address, filepath.Join(dir, "first"))
	s.acknowledged("1", 3)
	stopBackend()

	ledger, err := store.Open(t.Context(), cfg.Database, servicetest.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	s.ledger = ledger
	s.open("2") // written by nobody who pushes: as a backend that died at once leaves it
	if err := ledger.Close(); err != nil {
		t.Fatal(err)
	}
	s.ledger, stopBackend = runBackend(t, cfg)
	s.acknowledged("2", 2)

	stopCounter()
	runCounter(t, address, filepath.Join(dir, "empty"))
	servicetest.Eventually(t, 30*time.Second, "an alarm", func() bool { return strings.Contains(s.sale("1").Alarm, "lost") })
	probe, err := client.Open(cfg.Counter)
	if err != nil {
		t.Fatal(err)
	}
	defer probe.Close()
	if list, err := probe.SaleList(t.Context()); err != nil || len(list) != 0 {
		t.Fatalf("the empty counter has %v, %v: want no sale reopened", list, err)
	}
	stopBackend()
}

// runBackend runs the backend, and opens its ledger for a look.
func runBackend(t *testing.T, cfg backend.Config) (*store.Store, func()) {
	t.Helper()
	server, err := backend.Open(t.Context(), cfg, service.NewRuntime("backend", servicetest.Log(t)))
	if err != nil {
		t.Fatal(err)
	}
	ledger, err := store.Open(t.Context(), cfg.Database, servicetest.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("stopping the backend: %v", err)
		}
		if err := ledger.Close(); err != nil {
			t.Errorf("closing the ledger: %v", err)
		}
	})
	t.Cleanup(stop)
	return ledger, stop
}

// ledgerOnly changes sales in the ledger and leaves telling the counter to the backend.
type ledgerOnly struct {
	t      *testing.T
	ledger *store.Store
}

func (s *ledgerOnly) sale(id string) store.Sale {
	s.t.Helper()
	found, err := s.ledger.SaleByID(s.t.Context(), id)
	if err != nil {
		s.t.Fatal(err)
	}
	return found
}

func (s *ledgerOnly) acknowledged(id string, revision int64) {
	s.t.Helper()
	servicetest.Eventually(s.t, 30*time.Second, "the counter's acknowledgement", func() bool { return s.sale(id).Acknowledged == revision })
}

func (s *ledgerOnly) open(id string) {
	s.t.Helper()
	draft := store.Sale{ID: id, Currency: "CNY", Stock: 5, OpensAt: time.Now(), HoldFor: 30 * time.Second, PayWithin: time.Hour}
	if err := s.ledger.CreateSale(s.t.Context(), &draft); err != nil {
		s.t.Fatal(err)
	}
	changes, err := agreement.Open(sale.Terms{
		ID: id, Revision: 1, Stock: draft.Stock, OpensAt: draft.OpensAt.UnixMilli(), HoldForMillis: 30_000,
		RetainForMillis: 86_400_000, Shards: []string{"s1"}, Ring: sale.Ring{Partitions: 271, Replicas: 100, Load: 1.05},
	})
	if err == nil {
		_, err = s.ledger.ChangeSale(s.t.Context(), id, func(store.Sale) ([]store.SaleChange, error) { return changes, nil })
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *ledgerOnly) pause(id string) {
	s.t.Helper()
	_, err := s.ledger.ChangeSale(s.t.Context(), id, func(store.Sale) ([]store.SaleChange, error) {
		return []store.SaleChange{{Command: store.CommandPause}}, nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
}
