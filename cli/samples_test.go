package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"headgate.example/counter"
	"headgate.example/interceptor"
	"headgate.example/lib/config"
)

const samples = "../deploy/config"

// setExampleEnv sets the names of deploy/config/example.env, to secrets of their own.
func setExampleEnv(t *testing.T) (names []string) {
	t.Helper()
	var text strings.Builder
	if err := WriteEnvironment(&text); err != nil {
		t.Fatal(err)
	}
	return setEnv(t, text.String())
}

// setEnv sets what an environment file sets.
func setEnv(t *testing.T, text string) (names []string) {
	t.Helper()
	for line := range strings.Lines(text) {
		name, value, found := strings.Cut(strings.TrimSpace(line), "=")
		if strings.HasPrefix(line, "#") || !found {
			continue
		}
		names = append(names, name)
		t.Setenv(name, strings.Trim(value, "'"))
	}
	return names
}

// sampleFiles are all samples.
func sampleFiles(t *testing.T) (files []string) {
	t.Helper()
	for _, pattern := range []string{"*.yaml", "*/*.yaml", "../examples/*/*.yaml", "../local/*-*.yaml", "../local/headgate.yaml"} {
		found, err := filepath.Glob(filepath.Join(samples, pattern))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	return files
}

func TestSamplesAreRight(t *testing.T) {
	setExampleEnv(t)
	for _, kind := range Kinds() {
		found, hash, err := CheckConfig(filepath.Join(samples, kind+".yaml"), "")
		if err != nil || found != kind || hash == "" {
			t.Errorf("%s: kind %q, hash %q, %v", kind, found, hash, err)
		}
	}
	// Several voters, several shards, and whatever else lies there.
	files := sampleFiles(t)
	if least := len(Kinds()) + 5; len(files) < least {
		t.Errorf("only %d samples, want at least %d: %v", len(files), least, files)
	}
	for _, file := range files {
		if _, _, err := CheckConfig(file, ""); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// An edge asks our own backend whether it is well in every sample: an upstream that is listed has no path of its own for that.
func TestSamplesWatchTheBackend(t *testing.T) {
	setExampleEnv(t)
	watched := 0
	for _, file := range sampleFiles(t) {
		kind, err := GuessKind(file)
		if err != nil {
			t.Fatal(err)
		}
		var edge interceptor.Config
		switch kind {
		case "interceptor":
			edge = interceptor.DefaultConfig()
			err = config.Load(file, &edge)
		case "headgate":
			var whole Config
			whole, err = LoadConfig(file)
			edge = whole.Interceptor
		default:
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", file, err)
		}
		for _, u := range edge.Upstreams {
			if u.Name != "backend" {
				continue
			}
			if watched++; u.Health.Path != "/healthz" {
				t.Errorf("%s: the backend is not asked whether it is well (health.path %q)", file, u.Health.Path)
			}
		}
	}
	if watched < 6 {
		t.Errorf("only %d samples name the backend", watched)
	}
}

func TestSamplesNeedTheirEnvironment(t *testing.T) {
	names := setExampleEnv(t)
	all := ""
	for _, file := range append(sampleFiles(t), filepath.Join("..", "deploy", "compose", "compose.yaml")) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all += string(text)
	}
	for _, name := range names {
		if !strings.Contains(all, "${"+name+"}") && !strings.Contains(all, "${"+name+":?") {
			t.Errorf("example.env sets %s, which no sample uses", name)
		}
	}
	t.Setenv("HEADGATE_TICKET_SECRET", "short")
	_, _, err := CheckConfig(filepath.Join(samples, "consumer.yaml"), "")
	if err == nil || !strings.Contains(err.Error(), "consumer.yaml:") || !strings.Contains(err.Error(), "ticket_keys[0].secret") {
		t.Errorf("a short secret: %v", err)
	}
	if err := os.Unsetenv("HEADGATE_TICKET_SECRET"); err != nil {
		t.Fatal(err)
	}
	_, _, err = CheckConfig(filepath.Join(samples, "consumer.yaml"), "")
	if err == nil || !strings.Contains(err.Error(), "HEADGATE_TICKET_SECRET") {
		t.Errorf("a secret that is not set: %v", err)
	}
}

func TestCheckNamesFieldAndLine(t *testing.T) {
	setExampleEnv(t)
	folder := t.TempDir()
	for name, c := range map[string]struct {
		sample, old, new string
		want             []string
	}{
		"unknown key":          {"counter", "listen:", "listne:", []string{"counter.yaml:", "listne", `did you mean "listen"?`}},
		"wrong type":           {"counter", "number: 0", "number: zero", []string{"counter.yaml:", "shard.number"}},
		"duplicate key":        {"counter", "bootstrap: true", "bootstrap: true\nbootstrap: true", []string{"bootstrap", "duplicate"}},
		"a relation":           {"interceptor", "drain_for: 20s", "drain_for: 2s", []string{"interceptor.yaml:", "service.drain_for"}},
		"a duration's unit":    {"consumer", "linger: 20ms", "linger: 20", []string{"consumer.yaml:", "linger"}},
		"another's key":        {"backend", "signing_key: k1", "signing_key: k9", []string{"tokens.signing_key", "k9"}},
		"deep inside":          {"headgate", "driver: rabbitmq", "driver: kafka", []string{"backend.queue.driver", "consumer.queue.driver", "kafka"}},
		"no YAML":              {"counter", "limits:", "limits: {", []string{"counter.yaml:"}},
		"two problems at once": {"counter", "listen: 0.0.0.0:7380", "listen: nowhere\nwhat: ever", []string{"listen", "what"}},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(samples, c.sample+".yaml"))
			if err != nil {
				t.Fatal(err)
			}
			changed := strings.Replace(string(text), c.old, c.new, 1)
			if changed == string(text) {
				t.Fatalf("the sample has no %q", c.old)
			}
			path := filepath.Join(folder, c.sample+".yaml")
			if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
				t.Fatal(err)
			}
			_, _, err = CheckConfig(path, "")
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v, want %q in it", err, want)
				}
			}
		})
	}
}

func TestGuessKind(t *testing.T) {
	folder := t.TempDir()
	for name, c := range map[string]struct{ text, want string }{
		"backend-2.yaml":  {"", "backend"},
		"edge.yaml":       {"upstreams: []", "interceptor"},
		"shard.yaml":      {"data_dir: x", "counter"},
		"api.yaml":        {"accounts: {}", "backend"},
		"everything.yaml": {"interceptor: {}", "headgate"},
		"ledger.yaml":     {"database: {}", "consumer"},
		"what.yaml":       {"listen: x", ""},
	} {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := GuessKind(path)
		if got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
		}
	}
	if _, err := GuessKind(filepath.Join(folder, "missing.yml")); err == nil {
		t.Error("a missing file: no error")
	}
	if _, _, err := CheckConfig(filepath.Join(folder, "what.yaml"), "cdn"); err == nil || !strings.Contains(err.Error(), "kind") {
		t.Errorf("an unknown kind: %v", err)
	}
}

// TestTwoShardsAgree holds the sample of two shards together: every program has the same list, and each
// shard's peers are the others of it.
func TestTwoShardsAgree(t *testing.T) {
	setExampleEnv(t)
	all := DefaultConfig()
	if err := config.Load(filepath.Join(samples, "shards", "headgate.yaml"), &all); err != nil {
		t.Fatal(err)
	}
	list := all.Backend.Counter.Shards
	if len(list) != 2 {
		t.Fatalf("the backend has %d shards", len(list))
	}
	if !reflect.DeepEqual(list, all.Interceptor.Counter.Shards) || !reflect.DeepEqual(list, all.Consumer.Counter.Shards) {
		t.Error("interceptor, backend and consumer list different shards")
	}
	for i, shard := range list {
		c := counter.DefaultConfig()
		if err := config.Load(filepath.Join(samples, "shards", "counter-"+shard.Name+".yaml"), &c); err != nil {
			t.Fatal(err)
		}
		if c.Shard.Name != shard.Name || c.Shard.Number != shard.Number {
			t.Errorf("shard %s calls itself %+v", shard.Name, c.Shard)
		}
		other := list[1-i]
		if want := []counter.PeerConfig{{Name: other.Name, Number: other.Number, Addresses: other.Addresses}}; !reflect.DeepEqual(c.Peers, want) {
			t.Errorf("the peers of %s are %+v, want %+v", shard.Name, c.Peers, want)
		}
		if c.Borrow.Wait >= all.Interceptor.Counter.Timeout {
			t.Errorf("a buyer of %s waits %s at the counter, and its edge only %s", shard.Name, c.Borrow.Wait, all.Interceptor.Counter.Timeout)
		}
	}
}

// TestThreeEdgesAgree holds the sample of three edges together: they differ in their names only, have equal
// hashes, and nginx's sample knows each of them and the cookie.
func TestThreeEdgesAgree(t *testing.T) {
	setExampleEnv(t)
	nginx, err := os.ReadFile(filepath.Join("..", "deploy", "nginx", "headgate.conf"))
	if err != nil {
		t.Fatal(err)
	}
	hashes := map[string]bool{}
	for i, name := range []string{"edge-1", "edge-2", "edge-3"} {
		c := interceptor.DefaultConfig()
		if err := config.Load(filepath.Join(samples, "edges", fmt.Sprintf("interceptor-%d.yaml", i+1)), &c); err != nil {
			t.Fatal(err)
		}
		if c.Self != name || len(c.Peers) != 3 || c.Peers[i].Name != name {
			t.Errorf("file %d is of %s among %+v", i+1, c.Self, c.Peers)
		}
		hashes[config.Hash(&c)] = true
		if !strings.Contains(string(nginx), fmt.Sprintf("%s  headgate_%d;", name, i+1)) || !strings.Contains(string(nginx), "server "+c.Peers[i].Address+" max_fails") ||
			!strings.Contains(string(nginx), "map $cookie_"+c.Sharding.AffinityCookie+" ") {
			t.Errorf("nginx does not know %s, its address or the cookie", name)
		}
	}
	if len(hashes) != 1 {
		t.Errorf("three edges have %d config hashes", len(hashes))
	}
}
