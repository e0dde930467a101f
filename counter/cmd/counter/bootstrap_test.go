package main_test

import (
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"headgate.example/lib/service/servicetest"
)

// Several voters' log begins by an explicit act, once, and never because a config says so.
func TestBootstrapFlag(t *testing.T) {
	binary, dir := build(t), filepath.Join(t.TempDir(), "data")
	voters := []string{
		"listen: 127.0.0.1:0", "raft_listen: " + servicetest.FreePort(t), "service: {admin: ''}", "data_dir: " + dir, "voter_id: c1", "voters:",
		"  - {id: c1, raft: '127.0.0.1:1', client: '127.0.0.1:2'}", "  - {id: c2, raft: '127.0.0.1:3', client: '127.0.0.1:4'}",
	}
	alone := []string{"listen: 127.0.0.1:0", "service: {admin: ''}", "data_dir: " + t.TempDir()}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--check", "--config", config(t, append(voters, "bootstrap: true")...)}, 2, "bootstrap: must be false with several voters"},
		{[]string{"--check", "--config", config(t, append(voters, "voter_id: c3")...)}, 2, "voter_id"},
		{[]string{"--check", "--config", config(t, strings.ReplaceAll(strings.Join(voters, "\n"), "127.0.0.1:3", "127.0.0.1:1"))}, 2, "voters[1].raft: is that of voters[0] already"},
		{[]string{"--bootstrap", "--config", config(t, alone...)}, 1, "bootstrap: true"},
		{[]string{"--bootstrap", "--config", config(t, voters...)}, 1, "start all other voters first"},
		{[]string{"--bootstrap", "--config", config(t, voters[:len(voters)-1]...)}, 0, "now start it, without --bootstrap"},
		{[]string{"--config", config(t, voters...), "--bootstrap"}, 1, "already: just start the counter"},
	} {
		out, err := exec.CommandContext(t.Context(), binary, c.args...).CombinedOutput()
		code := 0
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			code = exit.ExitCode()
		}
		if code != c.code || !strings.Contains(string(out), c.want) {
			t.Errorf("%v: exit %d, %s; want exit %d and %q", c.args, code, out, c.code, c.want)
		}
	}
}
