package backend

import (
	"time"

	"headgate.example/counter/client"
	"headgate.example/lib/auth"
	"headgate.example/lib/config"
	"headgate.example/lib/payment"
	"headgate.example/lib/queue"
	"headgate.example/lib/sale"
	"headgate.example/lib/service"
	"headgate.example/lib/store"
)

// Config is the backend's configuration.
type Config struct {
	Service service.Config `yaml:"service"`
	// Listen is the host:port of the API. Default 127.0.0.1:8090: only edges should reach it.
	Listen string `yaml:"listen"`
	// Tokens signs what accounts sign in with; its signing_key must be set.
	Tokens auth.TokenConfig `yaml:"tokens"`
	// TicketKeys verify the edge's tickets.
	TicketKeys []auth.SymmetricKey `yaml:"ticket_keys"`
	// HopKeys verify that a request comes from an edge, and for whom. Where they differ from the edges',
	// or clocks differ by more than 30 s, people who are signed in are told unavailable.
	HopKeys []auth.SymmetricKey `yaml:"hop_keys"`
	// Counter needs the operator's password: sales are opened and people banned from here.
	Counter  client.Config `yaml:"counter"`
	Queue    queue.Config  `yaml:"queue"`
	Database store.Config  `yaml:"database"`
	// MigrateOnStart brings the tables up to date before serving. Default true.
	MigrateOnStart bool `yaml:"migrate_on_start"`

	Sales    SalesConfig    `yaml:"sales"`
	Accounts AccountsConfig `yaml:"accounts"`
	Limits   LimitsConfig   `yaml:"limits"`

	// Payment is who moves the money; consumers need the same section.
	Payment payment.Config `yaml:"payment"`
}

// SalesConfig has the defaults of new sales, and how fresh what is told of sales is.
type SalesConfig struct {
	Currency  string        `yaml:"currency"`   // three letters; default CNY
	HoldFor   time.Duration `yaml:"hold_for"`   // how long a hold waits for its CONFIRM; default 30s
	RetainFor time.Duration `yaml:"retain_for"` // how long the counter keeps finished holds; default 24h
	PayWithin time.Duration `yaml:"pay_within"` // from order to payment; default 15m
	// Refresh is how old the figures in the list of sales may get; default 500ms, 250ms to 1s.
	Refresh time.Duration `yaml:"refresh"`
	// AuditGrace is how long an accepted order may stay without a row before the audit calls it lost;
	// default 60s.
	AuditGrace time.Duration `yaml:"audit_grace"`
	// AuditEvery is how often this backend compares counter and ledger by itself, for the metrics and the log;
	// 1s to 1h, 0: never. Default 1m.
	AuditEvery time.Duration `yaml:"audit_every"`
}

// AccountsConfig bounds what signing in costs.
type AccountsConfig struct {
	// CookieSecure keeps the session cookie off plain HTTP. Default false; set it behind TLS.
	CookieSecure bool `yaml:"cookie_secure"`
	// Hashes is how many passwords are hashed at once, at 19 MiB and a CPU each. Default 0: half as many
	// as there are CPUs, at least one, so that orders keep their latency while people sign in.
	Hashes int `yaml:"hashes"`
	// HashQueue is how many sign-ins may wait for that; further ones are told overloaded. Default 128.
	HashQueue int `yaml:"hash_queue"`
	// HashWait is how long one waits at most; default 2s.
	HashWait time.Duration `yaml:"hash_wait"`
}

// LimitsConfig bounds the server.
type LimitsConfig struct {
	// Connections is how many are open at once; further ones wait to be accepted. Default 8192.
	Connections int `yaml:"connections"`
	// Waiters is how many long polls wait at once; further ones are answered at once. Default 4096.
	Waiters int `yaml:"waiters"`
}

// MaxWait bounds a long poll.
const MaxWait = 30 * time.Second

const maxPayWithin = 90 * 24 * time.Hour

// The server's own limits.
const (
	maxBodyBytes      = 32 << 10
	maxHeaderBytes    = 16 << 10
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	writeTimeout      = MaxWait + 15*time.Second
	idleTimeout       = 90 * time.Second // longer than edges may keep idle connections to us: see MaxIdleTimeout of interceptor/proxy
)

// DefaultConfig has everything but keys and the database's path.
func DefaultConfig() Config {
	return Config{
		Service:        service.DefaultConfig(),
		Listen:         "127.0.0.1:8090",
		Tokens:         auth.DefaultTokenConfig(),
		Counter:        client.DefaultConfig(),
		Queue:          queue.DefaultConfig(),
		Database:       store.DefaultConfig(),
		MigrateOnStart: true,
		Sales: SalesConfig{
			Currency: "CNY", HoldFor: 30 * time.Second, RetainFor: 24 * time.Hour, PayWithin: 15 * time.Minute,
			Refresh: 500 * time.Millisecond, AuditGrace: time.Minute, AuditEvery: time.Minute,
		},
		Accounts: AccountsConfig{HashQueue: 128, HashWait: 2 * time.Second},
		Limits:   LimitsConfig{Connections: 8192, Waiters: 4096},
		Payment:  payment.DefaultConfig(),
	}
}

// Common gives the config without what is this node's own: backends that are configured alike have the same
// hash of it.
func (c *Config) Common() any {
	common := *c
	common.Service, common.Listen = service.Config{}, ""
	return common
}

// Validate reports every field that is wrong.
func (c *Config) Validate(p *config.Problems) {
	c.Service.Validate(p.In("service"))
	if err := service.CheckAddress(c.Listen); err != nil {
		p.Addf("listen", "%v", err)
	}
	c.Tokens.Validate(p.In("tokens"))
	if c.Tokens.SigningKey == "" {
		p.In("tokens").Addf("signing_key", "is missing: the backend signs the tokens of its accounts")
	}
	auth.ValidateKeys(p, "ticket_keys", c.TicketKeys)
	auth.ValidateKeys(p, "hop_keys", c.HopKeys)
	c.Counter.Validate(p.In("counter"))
	c.Queue.Validate(p.In("queue"))
	c.Database.Validate(p.In("database"))
	c.Sales.validate(p.In("sales"))
	c.Accounts.validate(p.In("accounts"))
	c.Limits.validate(p.In("limits"))
	c.Payment.Validate(p.In("payment"))
	if c.Queue.PublishTimeout >= writeTimeout {
		p.In("queue").Addf("publish_timeout", "must be below %s, which bounds a whole answer", writeTimeout)
	}
}

func (c *SalesConfig) validate(p *config.Problems) {
	if len(c.Currency) != 3 {
		p.Addf("currency", "must be a code of three letters, such as CNY, is %.10q", c.Currency)
	}
	if c.HoldFor.Milliseconds() < sale.MinHoldForMillis || c.HoldFor.Milliseconds() > sale.MaxHoldForMillis {
		p.Addf("hold_for", "must be %dms to %dms, is %s", sale.MinHoldForMillis, sale.MaxHoldForMillis, c.HoldFor)
	}
	if c.RetainFor <= c.HoldFor {
		p.Addf("retain_for", "must be longer than hold_for (%s), is %s", c.HoldFor, c.RetainFor)
	}
	if c.PayWithin < time.Second || c.PayWithin > maxPayWithin {
		p.Addf("pay_within", "must be 1s to 2160h, is %s", c.PayWithin)
	}
	if c.Refresh < 250*time.Millisecond || c.Refresh > time.Second {
		p.Addf("refresh", "must be 250ms to 1s, is %s", c.Refresh)
	}
	c.validateAudit(p)
	if c.AuditGrace < time.Second || c.AuditGrace > time.Hour {
		p.Addf("audit_grace", "must be 1s to 1h, is %s", c.AuditGrace)
	}
}

func (c *SalesConfig) validateAudit(p *config.Problems) {
	if c.AuditEvery != 0 && (c.AuditEvery < time.Second || c.AuditEvery > time.Hour) {
		p.Addf("audit_every", "must be 1s to 1h, or 0 for never, is %s", c.AuditEvery)
	}
}

func (c *AccountsConfig) validate(p *config.Problems) {
	if c.Hashes < 0 || c.Hashes > 256 {
		p.Addf("hashes", "must be 0 (half the CPUs) to 256, is %d", c.Hashes)
	}
	if c.HashQueue < 1 || c.HashQueue > 100_000 {
		p.Addf("hash_queue", "must be 1 to 100000, is %d", c.HashQueue)
	}
	if c.HashWait < 100*time.Millisecond || c.HashWait > 30*time.Second {
		p.Addf("hash_wait", "must be 100ms to 30s, is %s", c.HashWait)
	}
}

func (c *LimitsConfig) validate(p *config.Problems) {
	if c.Connections < 16 || c.Connections > 1_000_000 {
		p.Addf("connections", "must be 16 to 1000000, is %d", c.Connections)
	}
	if c.Waiters < 1 || c.Waiters >= c.Connections {
		p.Addf("waiters", "must be at least 1 and below connections (%d), is %d", c.Connections, c.Waiters)
	}
}
