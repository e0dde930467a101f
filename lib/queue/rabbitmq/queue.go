package rabbitmq

import (
	"context"
	"errors"
	"log/slog"

	"headgate.example/lib/queue"
)

// Open checks the config and begins to connect; the broker need not be there yet.
func Open(_ context.Context, _ queue.Config, _ *slog.Logger) (queue.Queue, error) {
	return nil, errors.New("the rabbitmq driver is not built in")
}
