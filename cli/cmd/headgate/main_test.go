package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"headgate.example/cli"
	"headgate.example/lib/service"
	"headgate.example/lib/service/servicetest"
)

type result struct {
	code        int
	out, errOut string
}

func command(args ...string) result { return commandWith(nil, args...) }

func commandWith(env map[string]string, args ...string) result {
	return commandReading("", env, args...)
}

func commandReading(input string, env map[string]string, args ...string) result {
	var out, errOut bytes.Buffer
	code := run(args, strings.NewReader(input), &out, &errOut, func(name string) string { return env[name] })
	return result{code, out.String(), errOut.String()}
}

func (r result) want(t *testing.T, code int, parts ...string) {
	t.Helper()
	if r.code != code {
		t.Fatalf("exit code %d, want %d\n%s%s", r.code, code, r.out, r.errOut)
	}
	for _, part := range parts {
		if !strings.Contains(r.out+r.errOut, part) {
			t.Errorf("%q is missing in:\n%s%s", part, r.out, r.errOut)
		}
	}
}

// newFolder makes a data folder whose config names free ports.
func newFolder(t *testing.T) (folder *cli.Folder, ports map[string]string) {
	t.Helper()
	folder, err := cli.OpenFolder(filepath.Join(t.TempDir(), "data"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(folder.ConfigFile())
	if err != nil {
		t.Fatal(err)
	}
	ports = make(map[string]string)
	changed := string(text)
	for _, address := range []string{"127.0.0.1:8080", "127.0.0.1:8180", "127.0.0.1:7380", "127.0.0.1:8090"} {
		ports[address] = servicetest.FreePort(t)
		changed = strings.ReplaceAll(changed, address, ports[address])
	}
	if err := os.WriteFile(folder.ConfigFile(), []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	return folder, ports
}

// system runs all layers and gives the config's path; stop ends them.
func system(t *testing.T) (config string, stop func()) {
	t.Helper()
	folder, _ := newFolder(t)
	cfg, err := cli.LoadConfig(folder.ConfigFile())
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	dev, err := cli.OpenDev(t.Context(), cfg, folder, service.NewRuntime("headgate", log), log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- dev.Run(ctx) }()
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("stopping: %v", err)
		}
	}
	t.Cleanup(stop)
	return folder.ConfigFile(), stop
}

func TestOperatorCommands(t *testing.T) {
	config, stop := system(t)
	on := func(args ...string) result { return command(append(args, "--config", config)...) }

	on("sale", "list").want(t, 0, "Enamel kettle", "Field lantern", "upcoming", "1000")
	on("sale", "show", "2").want(t, 0, "release", "100 units")
	on("sale", "show", "nosuch").want(t, 1, "not_found")
	on("sale", "create", "s", "--stock", "10", "--title", "Lamp", "--price", "1999", "--hold-for", "2s").want(t, 0, "draft")
	on("sale", "create", "s", "--stock", "10").want(t, 1, "conflict")
	on("sale", "create", "t", "--stock", "-1").want(t, 1, "stock")
	on("sale", "create", "u", "--stock", "5", "--opens", "1h", "--release", "1h:3", "--release", "2h:3").want(t, 1, "releases")
	on("sale", "pause", "s").want(t, 1, "draft")
	on("sale", "open", "s").want(t, 0, "open")
	on("sale", "pause", "s").want(t, 0, "paused")
	on("sale", "resume", "s").want(t, 0, "open")
	on("sale", "stock", "s", "25").want(t, 0, "stock    25 units")
	on("sale", "stock", "s", "4").want(t, 0, "stock    4 units")
	var sales []cli.AdminSale
	list := on("sale", "list", "--json")
	if err := json.Unmarshal([]byte(list.out), &sales); err != nil || len(sales) != 3 {
		t.Errorf("sale list --json: %v, %d sales", err, len(sales))
	}
	on("sale", "close", "s").want(t, 0, "closed")
	on("sale", "resume", "s").want(t, 1, "final")

	on("ban", "u000042", "--reason", "resells", "--for", "1h").want(t, 0, "banned: user u000042")
	on("ban", "192.0.2.7").want(t, 0, "banned: address 192.0.2.7")
	on("ban", "198.51.100.0/24").want(t, 0, "banned: address 198.51.100.0/24")
	on("bans").want(t, 0, "u000042", "resells", "192.0.2.7", "198.51.100.0/24", "for good")
	on("signout", "team/7").want(t, 0, "signed out everywhere: team/7")
	on("signout", "u000042").want(t, 0, "signed out everywhere: u000042")
	servicetest.Eventually(t, 30*time.Second, "the edge knows the last of these rules", func() bool {
		return strings.Contains(on("edge", "user", "u000042").out, "are void")
	})
	on("edge", "user", "team/7").want(t, 0, "are void")
	on("edge", "bans", "--value", "192.0.2.7").want(t, 0, "192.0.2.7", "for good by an operator")
	on("edge", "user", "u000042").want(t, 0, "budgets are kept by node edge-1", "BANNED until", "resells", "are void", "user_interval", "no refusal")
	on("edge", "refusals").want(t, 0, "WHEN", "CODE")
	on("edge", "top").want(t, 0, "USER", "ADDRESS", "REQUESTS")
	if top := on("edge", "top", "--json"); !json.Valid([]byte(top.out)) || !strings.Contains(top.out, `"sample": 16`) {
		t.Errorf("edge top --json: %s", top.out)
	}
	on("edge", "refusals", "--address", "here").want(t, 1, "must be an IP address")
	on("unban", "u000042").want(t, 0, "not banned: user u000042")
	on("unban", "192.0.2.7").want(t, 0)
	on("unban", "198.51.100.0/24").want(t, 0)
	if bans := on("bans", "--json"); strings.TrimSpace(bans.out) != "[]" {
		t.Errorf("bans --json: %s", bans.out)
	}

	on("audit", "--wait", "20s").want(t, 0, "sale 1: holds", "verdict", "exit code 0")
	on("audit", "--sale", "1", "--json").want(t, 0, `"verdict": "holds"`)
	on("audit", "--sale", "nosuch").want(t, 3, "unreachable")
	on("audit", "--repair").want(t, 0, "0 steps (would be done), 0 matters for an operator", "verdict")
	on("audit", "--repair", "--sale", "nosuch", "--json").want(t, 3, `"error": `)
	on("ring", "--add", "s2").want(t, 0, "s1", "add s2 would move")
	on("ring", "--edges", "--add", "edge-2", "--key", "u000001").want(t, 0, "edge-1", "add edge-2 would move", "u000001")
	on("edge", "ring").want(t, 0, "edge-1", "serving", "100.0 %")

	users := filepath.Join(t.TempDir(), "users.csv")
	on("token", "--users", "3", "--out", users).want(t, 0)
	text, err := os.ReadFile(users)
	if err != nil || strings.Count(string(text), "\n") != 4 || !strings.HasPrefix(string(text), "user,token\nu000001,") {
		t.Errorf("users.csv: %v\n%s", err, text)
	}
	on("token", "--users", "1", "--out", "-", "--prefix", "x").want(t, 0, "x000001,")

	stop()
	on("sale", "list").want(t, 1, "is the system running?")
	on("edge", "top").want(t, 1, "does not answer")
	on("audit").want(t, 3, "unreachable")
}

func TestUsage(t *testing.T) {
	empty := map[string]string{"HEADGATE_DATA": t.TempDir()}
	command("--version").want(t, 0, "headgate ")
	command("help").want(t, 0, "dev", "audit", "token")
	commandWith(empty, "sale", "list").want(t, 2, "headgate.yaml", "--config")
	commandWith(empty, "audit").want(t, 3, "headgate.yaml")
	commandWith(map[string]string{"HEADGATE_CONFIG": "/nowhere/x.yaml"}, "bans").want(t, 2, "/nowhere/x.yaml")
	command("sale", "open").want(t, 2, "name one sale")
	command("signout").want(t, 2, "name one user")
	command("edge", "user").want(t, 2, "name one user")
	commandWith(empty, "edge", "top").want(t, 2, "--admin")
	command("sale", "stock", "s", "many").want(t, 2, "whole number")
	command("sale", "create", "s", "--stock", "1", "--opens", "tomorrow").want(t, 2, "--opens", "RFC 3339")
	command("sale", "create", "s", "--stock", "1", "--release", "10m").want(t, 2, "--release", "AT:UNITS")
	command("audit", "--wat").want(t, 3, "--wat") // 1 and 2 are verdicts
	command("audit", "--yes").want(t, 3, "belongs to --repair")
	command("audit", "--payments").want(t, 3, "belongs to --repair")
	command("audit", "1").want(t, 3, "1")
	command("check").want(t, 2, "at least one")
	command("ring", "--members", "a,b", "--key", "u1").want(t, 0, "MEMBER", "u1")
	command("ring", "--members", "a,a").want(t, 2, "members")
	command("nosuch").want(t, 1, "nosuch")
}

// A start that cannot work says in one line which field is wrong and what to do.
func TestDevThatCannotStart(t *testing.T) {
	folder, ports := newFolder(t)
	busy, err := net.Listen("tcp", ports["127.0.0.1:8080"])
	if err != nil {
		t.Fatal(err)
	}
	r := command("dev", "--data", folder.Path)
	r.want(t, 1, "interceptor.listen", ports["127.0.0.1:8080"], "is taken by another program")
	if err := busy.Close(); err != nil {
		t.Fatal(err)
	}

	text, err := os.ReadFile(folder.ConfigFile())
	if err != nil {
		t.Fatal(err)
	}
	wrong := strings.Replace(string(text), "user_interval: {", "user_intervall: {", 1)
	if err := os.WriteFile(folder.ConfigFile(), []byte(wrong), 0o600); err != nil {
		t.Fatal(err)
	}
	r = command("dev", "--data", folder.Path)
	r.want(t, 2, "headgate.yaml:", "interceptor.limits.user_intervall", `did you mean "user_interval"?`)

	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	command("dev", "--data", file).want(t, 2, "data: ", "--data")
	command("dev", "--config", file+".yaml").want(t, 2, file+".yaml")
}

func TestParseMoment(t *testing.T) {
	now := time.Date(2026, 11, 11, 0, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"now": now, "10m": now.Add(10 * time.Minute), "2026-11-11T00:00:00+08:00": now.Add(-8 * time.Hour),
	} {
		got, err := parseMoment("opens", text, now)
		if err != nil || got != want.UnixMilli() {
			t.Errorf("%s: %d, %v; want %d", text, got, err, want.UnixMilli())
		}
	}
	if r, err := parseReleases([]string{"2026-11-11T00:00:00Z:7"}, now); err != nil || len(r) != 1 || r[0].Units != 7 || r[0].At != now.UnixMilli() {
		t.Errorf("a release at a moment with colons: %+v, %v", r, err)
	}
}
