// Package open opens the queue that a config names. It exists apart from package queue so that drivers
// can import the contract.
package open

import (
	"context"
	"fmt"
	"log/slog"

	"headgate.example/lib/config"
	"headgate.example/lib/queue"
	"headgate.example/lib/queue/embedded"
	"headgate.example/lib/queue/rabbitmq"
)

// Open opens the driver that cfg.Driver names. The embedded driver needs its file at once; the
// RabbitMQ driver connects in the background and works while the broker is away.
func Open(ctx context.Context, cfg queue.Config, log *slog.Logger) (queue.Queue, error) {
	if err := config.Check(&cfg); err != nil {
		return nil, fmt.Errorf("queue config: %w", err)
	}
	var q queue.Queue
	var err error
	switch cfg.Driver {
	case queue.Embedded:
		q, err = embedded.Open(ctx, cfg, log)
	case queue.RabbitMQ:
		q, err = rabbitmq.Open(ctx, cfg, log)
	default:
		err = fmt.Errorf("queue config: driver %.40q is unknown", cfg.Driver)
	}
	if err != nil {
		return nil, err // not a nil pointer in an interface
	}
	return q, nil
}
