package cli

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"headgate.example/counter"
	"headgate.example/counter/client"
	"headgate.example/lib/config"
)

// The sample configs are right, with an environment as `headgate secret --env` makes it.
func TestSampleConfigs(t *testing.T) {
	folder := filepath.Join("..", "deploy", "config")
	setExampleEnv(t)
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no samples: %v", err)
	}
	for _, file := range files {
		if _, _, err := CheckConfig(file, ""); err != nil {
			t.Error(err)
		}
	}
	cfg := counter.DefaultConfig()
	if err := config.Load(filepath.Join(folder, "counter-three-voters.yaml"), &cfg); err != nil {
		t.Fatal(err)
	}
	if len(cfg.Voters) != 3 || cfg.VoterID != "c1" || cfg.Bootstrap {
		t.Errorf("the sample of three voters has %d, is %q, bootstrap %v", len(cfg.Voters), cfg.VoterID, cfg.Bootstrap)
	}
	// Three voters are never bootstrapped by a config that stays.
	cfg.Bootstrap = true
	if err := config.Check(&cfg); err == nil || !strings.Contains(err.Error(), "counter --bootstrap") {
		t.Errorf("bootstrap in the config of three voters: %v", err)
	}
}

func TestVoterTable(t *testing.T) {
	var out bytes.Buffer
	err := WriteVoters(&out, []client.Voter{
		{ID: "c1", Raft: "a:1", Client: "a:2", Votes: true, Leads: true, Reachable: true, Applied: 7},
		{ID: "c2", Raft: "b:1", Client: "b:2", Applied: 3, ClockOffset: -300 * time.Millisecond},
	})
	for _, want := range []string{"c1", "leader", "catching up", "does not answer", "-300ms"} {
		if err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing, %v:\n%s", want, err, out.String())
		}
	}
}
