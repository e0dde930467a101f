package backend_test

import (
	"strings"
	"testing"
	"time"

	"headgate.example/backend"
	"headgate.example/lib/config"
)

func TestConfigProblems(t *testing.T) {
	good := testConfig(t.TempDir())
	if err := config.Check(&good); err != nil {
		t.Fatal(err)
	}
	for field, change := range map[string]func(*backend.Config){
		"listen":              func(c *backend.Config) { c.Listen = "nowhere" },
		"tokens.signing_key":  func(c *backend.Config) { c.Tokens.SigningKey = "" },
		"ticket_keys":         func(c *backend.Config) { c.TicketKeys = nil },
		"hop_keys":            func(c *backend.Config) { c.HopKeys = nil },
		"database.path":       func(c *backend.Config) { c.Database.Path = "" },
		"sales.refresh":       func(c *backend.Config) { c.Sales.Refresh = time.Minute },
		"sales.currency":      func(c *backend.Config) { c.Sales.Currency = "yuan" },
		"sales.retain_for":    func(c *backend.Config) { c.Sales.RetainFor = c.Sales.HoldFor },
		"sales.hold_for":      func(c *backend.Config) { c.Sales.HoldFor = time.Millisecond },
		"sales.pay_within":    func(c *backend.Config) { c.Sales.PayWithin = 0 },
		"sales.audit_grace":   func(c *backend.Config) { c.Sales.AuditGrace = 0 },
		"accounts.hash_queue": func(c *backend.Config) { c.Accounts.HashQueue = 0 },
		"accounts.hash_wait":  func(c *backend.Config) { c.Accounts.HashWait = time.Hour },
		"accounts.hashes":     func(c *backend.Config) { c.Accounts.Hashes = -1 },
		"limits.waiters":      func(c *backend.Config) { c.Limits.Waiters = c.Limits.Connections },
		"limits.connections":  func(c *backend.Config) { c.Limits.Connections = 1 },
		"queue.publish_timeout": func(c *backend.Config) {
			c.Queue.PublishTimeout = 50 * time.Second
		},
	} {
		cfg := good
		change(&cfg)
		if err := config.Check(&cfg); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}
