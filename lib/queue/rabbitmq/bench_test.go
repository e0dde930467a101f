package rabbitmq_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"headgate.example/lib/config"
	"headgate.example/lib/queue"
)

// benchSize is the alternating pairs of runs, and the messages of each; -short is a quick look.
func benchSize() (pairs, messages int) {
	if testing.Short() {
		return 3, 10_000
	}
	return 7, 100_000
}

const (
	benchCallers  = 4000 // requests that a backend has in hand
	benchChannels = 4
	benchUnacked  = benchCallers / benchChannels // of one channel of the client alone: as many on their way
)

// orderSized is about as long as an order message.
func orderSized() []byte { return bytes.Repeat([]byte("order-message "), 30) }

// BenchmarkPublishAgainstClient compares Publish, called as the backend does (one message a request,
// confirmed before it is answered), with the AMQP client alone at its best: the same quorum queue's
// twin, four channels, many messages on their way. It prints the figure for `make bench-ledger`.
func BenchmarkPublishAgainstClient(b *testing.B) {
	pairs, messages := benchSize()
	for range b.N {
		var ratios, ours, theirs []float64
		for pair := range pairs {
			var rates [2]float64
			for turn := range rates {
				side := (turn + pair) % 2 // each goes first in half of the pairs
				rates[side] = [2]func(testing.TB, int) float64{publishRate, clientRate}[side](b, messages)
			}
			ours, theirs = append(ours, rates[0]), append(theirs, rates[1])
			ratios = append(ratios, rates[0]/rates[1])
		}
		fmt.Printf("ledger.publish.rps_vs_raw_amqp: %.2f (%d pairs, %.2f to %.2f; Headgate %.0f/s from %d callers, amqp091-go %.0f/s)\n", median(ratios), pairs,
			slices.Min(ratios), slices.Max(ratios), median(ours), benchCallers, median(theirs))
	}
}

func median(of []float64) float64 {
	sorted := slices.Sorted(slices.Values(of))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// publishRate is confirmed messages a second through Publish.
func publishRate(t testing.TB, messages int) float64 {
	cfg := benchSettings(t)
	cfg.Channels = benchChannels
	q := open(t, cfg)
	body := orderSized()
	if o := q.Publish(t.Context(), topic, []queue.Message{{ID: "first", Body: body}})[0]; o.Fate != queue.Confirmed {
		t.Fatal(o.Err)
	}
	var left atomic.Int64
	left.Store(int64(messages))
	var callers sync.WaitGroup
	began := time.Now()
	for range benchCallers {
		callers.Go(func() {
			for left.Add(-1) >= 0 {
				if o := q.Publish(t.Context(), topic, []queue.Message{{ID: "123456789012345678", Body: body}})[0]; o.Fate != queue.Confirmed {
					t.Errorf("%s: %v", o.Fate, o.Err)
					return
				}
			}
		})
	}
	callers.Wait()
	rate := float64(messages) / time.Since(began).Seconds()
	if err := q.Close(); err != nil {
		t.Error(err)
	}
	deleteAll(t, cfg.Prefix)
	return rate
}

func benchSettings(t testing.TB) queue.Config {
	cfg := queue.DefaultConfig()
	cfg.Driver, cfg.URL, cfg.Prefix = queue.RabbitMQ, config.Secret(broker(t)), fmt.Sprintf("bench-%x", rand.Uint64())
	return cfg
}

// clientRate is confirmed messages a second through the client alone.
func clientRate(t testing.TB, messages int) float64 {
	conn, err := amqp.Dial(broker(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // a benchmark's end
	name := fmt.Sprintf("bench-%x", rand.Uint64())
	lanes := make([]*amqp.Channel, benchChannels)
	for i := range lanes {
		if lanes[i], err = conn.Channel(); err == nil {
			err = lanes[i].Confirm(false)
		}
		if err == nil && i == 0 {
			_, err = lanes[i].QueueDeclare(name, true, false, false, false, amqp.Table{"x-queue-type": "quorum"})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	defer lanes[0].QueueDelete(name, false, false, false) //nolint:errcheck // a benchmark's end
	if err := clientLane(lanes[0], name, 1); err != nil { // it has a leader now
		t.Fatal(err)
	}
	for i := range lanes { // a listener stays with its channel
		if lanes[i], err = conn.Channel(); err == nil {
			err = lanes[i].Confirm(false)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var running sync.WaitGroup
	began := time.Now()
	for _, ch := range lanes {
		running.Go(func() {
			if err := clientLane(ch, name, messages/benchChannels); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	return float64(messages) / time.Since(began).Seconds()
}

// clientLane publishes on one channel and waits for every confirm.
func clientLane(ch *amqp.Channel, name string, messages int) error {
	confirms := ch.NotifyPublish(make(chan amqp.Confirmation, benchUnacked))
	body := orderSized()
	sent, done := 0, 0
	for done < messages {
		if sent < messages && sent-done < benchUnacked {
			sent++
			err := ch.Publish("", name, false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: body})
			if err != nil {
				return err
			}
			select {
			case c, ok := <-confirms:
				if !ok || !c.Ack {
					return fmt.Errorf("confirm %+v", c)
				}
				done++
			default:
			}
			continue
		}
		if c, ok := <-confirms; !ok || !c.Ack {
			return fmt.Errorf("confirm %+v", c)
		}
		done++
	}
	return nil
}
