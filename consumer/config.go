package consumer

import (
	"time"

	"headgate.example/counter/client"
	"headgate.example/lib/auth"
	"headgate.example/lib/config"
	"headgate.example/lib/payment"
	"headgate.example/lib/queue"
	"headgate.example/lib/service"
	"headgate.example/lib/store"
)

// Topic is the queue's topic of order messages.
const Topic = "orders"

// Limits of a Config.
const (
	MaxBatchSize         = store.MaxBatch
	MaxOutboxConcurrency = 256
	MaxWorkers           = 16
)

// Config is the configuration of a consumer.
type Config struct {
	Service  service.Config `yaml:"service"`
	Queue    queue.Config   `yaml:"queue"`
	Database store.Config   `yaml:"database"`
	Counter  client.Config  `yaml:"counter"`
	// TicketKeys verify the tickets in order messages: the interceptors' keys, and those they used
	// before for as long as messages may wait.
	TicketKeys []auth.SymmetricKey `yaml:"ticket_keys"`
	// BatchSize is the largest batch, in orders. Default 500, at most MaxBatchSize.
	BatchSize int `yaml:"batch_size"`
	// Linger is how long a batch waits to fill up after its first message. Default 20ms.
	Linger time.Duration `yaml:"linger"`
	// Workers is how many batches are worked on at once, each from a subscription of its own: while one
	// waits for its commit, the next is read and confirmed. Default 3, at most MaxWorkers.
	Workers int `yaml:"workers"`
	// ParkAfter is how long a message keeps its batch waiting for its counter shard before it is
	// parked in the ledger. Default 30s.
	ParkAfter time.Duration `yaml:"park_after"`
	// ParkedInterval is how often parked messages are looked for, and the shortest pause between two
	// attempts at one of them; the pause doubles up to 5 minutes. Default 5s.
	ParkedInterval time.Duration `yaml:"parked_interval"`
	// OutboxInterval is how often the outbox is looked at. Default 200ms.
	OutboxInterval time.Duration `yaml:"outbox_interval"`
	// OutboxBatch is how many outbox rows are claimed at once. Default 200.
	OutboxBatch int `yaml:"outbox_batch"`
	// OutboxConcurrency is how many of them are released at once. Default 16.
	OutboxConcurrency int `yaml:"outbox_concurrency"`
	// SweepInterval is how often orders past their payment deadline are cancelled. Default 1s.
	SweepInterval time.Duration `yaml:"sweep_interval"`
	// SweepBatch is how many of them one transaction cancels. Default 200.
	SweepBatch int `yaml:"sweep_batch"`
	// DeadlineMessages lets a delayed message end each batch's orders at their deadline, besides the
	// sweep; either alone would do. Default true.
	DeadlineMessages bool `yaml:"deadline_messages"`
	// Payment is whom payments are asked of and money is given back through: as the backends have it.
	Payment payment.Config `yaml:"payment"`
	// PaymentInterval is how often payments to be asked about and refunds are looked for. Default 500ms.
	PaymentInterval time.Duration `yaml:"payment_interval"`
}

// DefaultConfig has every default but the ticket keys, which have none.
func DefaultConfig() Config {
	c := Config{
		Service: service.DefaultConfig(), Queue: queue.DefaultConfig(), Database: store.DefaultConfig(), Counter: client.DefaultConfig(),
		BatchSize: 500, Linger: 20 * time.Millisecond, Workers: 3,
		ParkAfter: 30 * time.Second, ParkedInterval: 5 * time.Second,
		OutboxInterval: 200 * time.Millisecond, OutboxBatch: 200, OutboxConcurrency: 16,
		SweepInterval: time.Second, SweepBatch: 200,
		DeadlineMessages: true,
		Payment:          payment.DefaultConfig(), PaymentInterval: 500 * time.Millisecond,
	}
	c.Service.Admin = "127.0.0.1:8184"
	return c
}

// Common gives the config without what is this node's own: consumers that are configured alike have the same
// hash of it.
func (c *Config) Common() any {
	common := *c
	common.Service = service.Config{}
	return common
}

// Validate checks each field and the relations between them.
func (c *Config) Validate(p *config.Problems) {
	c.Service.Validate(p.In("service"))
	c.Queue.Validate(p.In("queue"))
	c.Database.Validate(p.In("database"))
	c.Counter.Validate(p.In("counter"))
	auth.ValidateKeys(p, "ticket_keys", c.TicketKeys)
	between(p, "batch_size", c.BatchSize, 1, MaxBatchSize)
	between(p, "linger", c.Linger, 0, queue.MaxLinger)
	between(p, "workers", c.Workers, 1, MaxWorkers)
	between(p, "park_after", c.ParkAfter, time.Second, 10*time.Minute) // brokers take deliveries back after 30 minutes
	between(p, "parked_interval", c.ParkedInterval, time.Millisecond, maxParkedPause)
	between(p, "outbox_interval", c.OutboxInterval, time.Millisecond, time.Minute)
	between(p, "outbox_batch", c.OutboxBatch, 1, store.MaxPage)
	between(p, "outbox_concurrency", c.OutboxConcurrency, 1, MaxOutboxConcurrency)
	between(p, "sweep_interval", c.SweepInterval, time.Millisecond, 10*time.Minute)
	c.Payment.Validate(p.In("payment"))
	between(p, "payment_interval", c.PaymentInterval, time.Millisecond, time.Minute)
	between(p, "sweep_batch", c.SweepBatch, 1, store.MaxPage)
	if round := c.releaseRound(); round > maxReleaseRound {
		p.Addf("outbox_concurrency", "a round of %d outbox rows, each waiting up to counter.timeout (%s), may take %s: raise it, or lower outbox_batch, until that is at most %s",
			c.OutboxBatch, c.Counter.Timeout, round, maxReleaseRound)
	}
	if c.Counter.Timeout >= c.Service.DrainFor {
		p.Addf("service.drain_for", "must be longer than counter.timeout (%s), so that the last batch can finish; is %s", c.Counter.Timeout, c.Service.DrainFor)
	}
}

func between[T int | time.Duration](p *config.Problems, field string, value, low, high T) {
	if value < low || value > high {
		p.Addf(field, "must be %v to %v, is %v", low, high, value)
	}
}
