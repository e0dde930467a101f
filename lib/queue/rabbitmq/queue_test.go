package rabbitmq_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	"headgate.example/lib/config"
	"headgate.example/lib/queue"
	"headgate.example/lib/queue/queuetest"
	"headgate.example/lib/queue/rabbitmq"
	"headgate.example/lib/service/servicetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// broker is the address of a real broker; without one the test is skipped, or fails when CI=true.
func broker(t testing.TB) string {
	t.Helper()
	return servicetest.Need(t, "HEADGATE_TEST_AMQP_URL")
}

// settings gives a config with exchanges and queues of the test's own, which are deleted at its end.
func settings(t testing.TB, address string) queue.Config {
	t.Helper()
	cfg := queue.DefaultConfig()
	cfg.Driver = queue.RabbitMQ
	cfg.URL = config.Secret(address)
	cfg.Prefix = fmt.Sprintf("test-%x", rand.Uint64())
	t.Cleanup(func() { deleteAll(t, cfg.Prefix) })
	return cfg
}

func open(t testing.TB, cfg queue.Config) *rabbitmq.Queue {
	t.Helper()
	q, err := rabbitmq.Open(t.Context(), cfg, queuetest.Log(t))
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

// deleteAll removes what a prefix names; deleting what is not there is no error.
func deleteAll(t testing.TB, prefix string) {
	conn, err := amqp.Dial(broker(t))
	if err != nil {
		t.Errorf("tidying up: %v", err)
		return
	}
	defer conn.Close() //nolint:errcheck // a test's end
	ch, err := conn.Channel()
	if err != nil {
		t.Errorf("tidying up: %v", err)
		return
	}
	for _, name := range rabbitmq.QueueNames(prefix, "orders", "other") {
		if _, err := ch.QueueDelete(name, false, false, false); err != nil {
			t.Errorf("tidying up: %v", err)
		}
	}
	for _, name := range []string{prefix, prefix + ".dead"} {
		if err := ch.ExchangeDelete(name, false, false); err != nil {
			t.Errorf("tidying up: %v", err)
		}
	}
}

func TestConformance(t *testing.T) {
	broker(t)
	queuetest.Run(t, func(t *testing.T) queuetest.Opener {
		cfg := settings(t, broker(t))
		return func(t *testing.T, change ...func(*queue.Config)) queue.Queue {
			for _, f := range change {
				f(&cfg)
			}
			return open(t, cfg)
		}
	})
}
