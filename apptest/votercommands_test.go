package apptest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"headgate.example/apptest/programs"
	"headgate.example/apptest/voters"
)

// The operator's commands on three real voters: see them, replace one, all while the others serve.
func TestVoterCommands(t *testing.T) {
	shard := startShard(t)
	headgate := counterCommands(t, shard)
	list := headgate("voters")
	for _, want := range []string{"c1", "c2", "c3", "leader", "follower"} {
		if list.Code != 0 || !strings.Contains(list.Stdout, want) {
			t.Errorf("voters: exit %d, %q is missing:\n%s%s", list.Code, want, list.Stdout, list.Stderr)
		}
	}
	if r := headgate("add-voter", "c9", "127.0.0.1:1", "127.0.0.1:2"); r.Code != 1 || !strings.Contains(r.Stderr, "does not answer") {
		t.Errorf("adding a voter that is not there: exit %d, %s", r.Code, r.Stderr)
	}
	fourth, err := shard.Newcomer("c4")
	if err != nil {
		t.Fatal(err)
	}
	if err := fourth.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, patience, "the fourth voter is added", func() bool {
		r := headgate("add-voter", "c4", fourth.Raft, fourth.Client)
		return r.Code == 0 && strings.Contains(r.Stdout, "votes")
	})
	leader, err := shard.Leader(deadline(t, patience))
	if err != nil {
		t.Fatal(err)
	}
	if r := headgate("remove-voter", leader.ID); r.Code != 0 {
		t.Errorf("taking the leader out: exit %d, %s", r.Code, r.Stderr)
	}
	if r := headgate("voters", "--json"); r.Code != 0 || strings.Contains(r.Stdout, `"`+leader.ID+`"`) || !strings.Contains(r.Stdout, `"c4"`) {
		t.Errorf("voters afterwards: exit %d, %s%s", r.Code, r.Stdout, r.Stderr)
	}
}

// counterCommands gives `headgate counter` with a config that names the shard's voters.
func counterCommands(t *testing.T, shard *voters.Shard) func(args ...string) programs.Result {
	t.Helper()
	root, err := programs.Root()
	if err != nil {
		t.Fatal(err)
	}
	env, err := os.ReadFile(filepath.Join(root, "deploy", "config", "example.env"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(env)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(name, "#") {
			t.Setenv(name, strings.Trim(value, "'"))
		}
	}
	config := programs.ReadConfig(t, filepath.Join(root, "deploy", "config", "headgate.yaml"))
	var addresses []any
	for _, address := range shard.Addresses() {
		addresses = append(addresses, address)
	}
	config.Set("backend.counter.shards", []any{map[string]any{"name": shard.Name, "number": 0, "addresses": addresses}})
	config.Set("backend.counter.client_password", "")
	config.Set("backend.counter.operator_password", "")
	file := filepath.Join(t.TempDir(), "headgate.yaml")
	config.Write(file)
	return func(args ...string) programs.Result {
		return programs.Run(t, bin.Path("headgate"), append(append([]string{"counter"}, args...), "--config", file)...)
	}
}
