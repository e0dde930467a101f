package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"headgate.example/cli"
	"headgate.example/lib/queue"
	"headgate.example/lib/queue/open"
	"headgate.example/lib/service/servicetest"
)

// TestDeadLetterCommands: a message that is no order goes from the queue to the list; replayed it comes
// back, since it is none still; discarded it is gone.
func TestDeadLetterCommands(t *testing.T) {
	config, _ := system(t)
	on := func(args ...string) result {
		return command(append(append([]string{"dead-letters"}, args...), "--config", config)...)
	}
	cfg, err := cli.LoadConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	on("list").want(t, 0, "LETTER")
	publish(t, cfg, "what is this?")
	listed := func() (letters []cli.DeadLetter) {
		r := on("list", "--json")
		if err := json.Unmarshal([]byte(r.out), &letters); r.code != 0 || err != nil {
			t.Fatalf("exit code %d, %v\n%s%s", r.code, err, r.out, r.errOut)
		}
		return letters
	}
	servicetest.Eventually(t, 30*time.Second, "the message is among the dead letters", func() bool { return len(listed()) == 1 })
	on("list").want(t, 0, "not an order message")
	on("show", "1").want(t, 0, "what is this?", "none is proved", "just drops it")
	on("show", "1", "--json").want(t, 0, `"body": "what is this?"`)
	on("show", "7").want(t, 1, "not_found")
	on("replay", "1").want(t, 0, "letter 1 replayed")
	servicetest.Eventually(t, 30*time.Second, "the letter is dead again", func() bool { return len(listed()) == 1 })
	on("replay", "--all").want(t, 0, "letter 1 replayed")
	servicetest.Eventually(t, 30*time.Second, "the letter is dead again", func() bool { return len(listed()) == 1 })
	checkGauge(t, cfg)
	on("discard", "1").want(t, 0, "letter 1 discarded")
	on("discard", "1").want(t, 0, "before")
	if left := listed(); len(left) != 0 {
		t.Errorf("still listed: %+v", left)
	}
	on("replay").want(t, 2, "--all")
	on("replay", "1", "--all").want(t, 2, "--all")
	on("discard", "one").want(t, 2, "no letter's number")
}

func publish(t *testing.T, cfg cli.Config, body string) {
	t.Helper()
	from := cfg.AuditSources()
	q, err := open.Open(t.Context(), from.Queue, servicetest.Log(t))
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close() //nolint:errcheck // the test's own handle
	if out := q.Publish(t.Context(), from.Topic, []queue.Message{{ID: "x", Body: []byte(body)}}); out[0].Fate != queue.Confirmed {
		t.Fatalf("publishing: %+v", out)
	}
}

// checkGauge: the metric of dead letters says that there is one now.
func checkGauge(t *testing.T, cfg cli.Config) {
	t.Helper()
	metrics := func() string {
		response, err := http.Get("http://" + cfg.AdminAddress() + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close() //nolint:errcheck // read whole
		all, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(all)
	}
	servicetest.Eventually(t, 30*time.Second, "the gauge counts the letter", func() bool {
		return strings.Contains(metrics(), "\nheadgate_consumer_dead_letters 1\n")
	})
}
