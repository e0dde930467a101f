//go:build linux

package cluster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// source is the samples that are shipped.
const source = "../../deploy/local"

func copied(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	if err := os.CopyFS(folder, os.DirFS(source)); err != nil {
		t.Fatal(err)
	}
	return folder
}

func TestShippedLayout(t *testing.T) {
	l, err := ReadLayout(source)
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{Nginx: 1, Interceptor: 3, Counter: 6, Backend: 2, Consumer: 2, RabbitMQ: 1, MariaDB: 1}
	for kind, want := range count {
		if got := len(l.Of(kind)); got != want {
			t.Errorf("%d of kind %s, want %d", got, kind, want)
		}
	}
	if l.Edge() != "http://127.0.0.1:8000" || strings.Join(l.Shards(), " ") != "s1 s2" {
		t.Errorf("edge %s, shards %v", l.Edge(), l.Shards())
	}
	voter := l.Find("counter-s2-3")
	if voter.Shard != "s2" || voter.Address() != "127.0.0.1:7423" || voter.Admin != "127.0.0.1:7623" || len(voter.Listens) != 3 || voter.DataDir != "counter-s2-3" {
		t.Errorf("%+v", voter)
	}
	if c := l.Find("consumer-1"); c.Address() != "" || len(c.Listens) != 1 {
		t.Errorf("%+v", c)
	}
}

func TestWrongLayouts(t *testing.T) {
	for name, c := range map[string]struct{ file, old, new, want string }{
		"a name":            {LayoutFile, "name: nginx,", "name: apache,", "apache: name: want nginx"},
		"an unknown key":    {LayoutFile, "name: nginx,", "name: nginx, user: me,", "field user not found"},
		"twice":             {LayoutFile, "name: backend-2, config: backend-2.yaml", "name: backend-1, config: backend-2.yaml", "backend-1 is there twice"},
		"a port twice":      {"backend-2.yaml", "127.0.0.1:8092", "127.0.0.1:8091", "listen of backend-2 is taken by backend-1"},
		"a file elsewhere":  {LayoutFile, "config: nginx.conf", "config: ../nginx.conf", "want the name of its config file"},
		"no such file":      {LayoutFile, "config: nginx.conf", "config: engine.conf", "engine.conf"},
		"no such share":     {LayoutFile, "config: nginx.conf", "config: nginx.conf, cpu: 0.001", "cpu: want"},
		"ports of rabbitmq": {LayoutFile, "ports: [5772, 5773, 5774]", "ports: [5772]", "AMQP, Erlang's distribution"},
		"a shard":           {"counter-s1-1.yaml", "shard: { name: s1", "shard: { name: s9", `shard.name is "s9", want s1`},
		"the world":         {"backend-1.yaml", "listen: 127.0.0.1:8091", "listen: 0.0.0.0:8091", "want 127.0.0.1:PORT"},
		"a folder outside":  {"counter-s1-1.yaml", "data_dir: counter-s1-1", "data_dir: /var/lib/counter", "data_dir: want a folder below"},
		"no admin port":     {"consumer-1.yaml", "admin: 127.0.0.1:8201", "admin: ''", "service.admin is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			folder := copied(t)
			path := filepath.Join(folder, c.file)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			changed := strings.Replace(string(text), c.old, c.new, 1)
			if changed == string(text) {
				t.Fatalf("%s has no %q", c.file, c.old)
			}
			if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := ReadLayout(folder); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q in it", err, c.want)
			}
		})
	}
}

// TestAdd: new members have ports of their own, and are named wherever the others are.
func TestAdd(t *testing.T) {
	folder := copied(t)
	for _, name := range []string{"interceptor-4", "shard-s3", "backend-3", "consumer-3", "interceptor-5"} {
		if _, err := Add(folder, name); err != nil {
			t.Fatal(err)
		}
	}
	l, err := ReadLayout(folder)
	if err != nil {
		t.Fatal(err)
	}
	for name, address := range map[string]string{"interceptor-4": "127.0.0.1:8084", "interceptor-5": "127.0.0.1:8085", "backend-3": "127.0.0.1:8093", "counter-s3-2": "127.0.0.1:7432"} {
		if e := l.Find(name); e == nil || e.Address() != address {
			t.Errorf("%s: %+v, want it on %s", name, e, address)
		}
	}
	text := func(file string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(folder, file))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for _, file := range []string{"interceptor-1.yaml", "interceptor-4.yaml", "interceptor-5.yaml", "headgate.yaml"} {
		for _, want := range []string{"- { name: interceptor-1, address: \"127.0.0.1:8081\" }", "- { name: interceptor-4, address: \"127.0.0.1:8084\" }",
			"- { name: interceptor-5, address: \"127.0.0.1:8085\" }", "- { name: s3, number: 2, addresses: [\"127.0.0.1:7431\", \"127.0.0.1:7432\", \"127.0.0.1:7433\"] }",
			`"127.0.0.1:8092", "127.0.0.1:8093"]`} {
			if strings.Count(text(file), want) != 1 {
				t.Errorf("%s names it %d times: %s", file, strings.Count(text(file), want), want)
			}
		}
	}
	for file, want := range map[string]string{"counter-s1-1.yaml": "s2 s3", "counter-s2-3.yaml": "s1 s3", "counter-s3-1.yaml": "s2 s1"} {
		var peers []string
		for _, line := range shardLine.FindAllString(text(file), -1) {
			peers = append(peers, strings.TrimSuffix(strings.Fields(line)[3], ","))
		}
		if got := strings.Join(peers, " "); got != want {
			t.Errorf("the peers of %s are %s, want %s", file, got, want)
		}
	}
	conf := text("nginx.conf")
	for want, times := range map[string]int{"interceptor-4 headgate_4;": 1, "upstream headgate_5 {": 1, "server 127.0.0.1:8084 backup max_fails=10 fail_timeout=2s;": 4, "server 127.0.0.1:8084 max_fails=10 fail_timeout=2s;": 2, "server 127.0.0.1:8081 backup max_fails=10 fail_timeout=2s;": 4} {
		if got := strings.Count(conf, want); got != times {
			t.Errorf("nginx.conf has %q %d times, want %d", want, got, times)
		}
	}
	if admins := adminList.FindString(text("headgate.yaml")); strings.Count(admins, "127.0.0.1:7633") != 1 || strings.Count(admins, "127.0.0.1:8185") != 1 {
		t.Errorf("the list of admin ports: %s", admins)
	}
}

// TestAddChangesAllOrNothing: where a list is not as expected, no file is touched.
func TestAddChangesAllOrNothing(t *testing.T) {
	folder := copied(t)
	path := filepath.Join(folder, "interceptor-3.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(text), "  - { name: interceptor", "  - {name: interceptor")), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Add(folder, "interceptor-4"); err == nil || !strings.Contains(err.Error(), "interceptor-3.yaml") || !strings.Contains(err.Error(), "by hand") {
		t.Errorf("error %v, want one that names the file", err)
	}
	if l, err := ReadLayout(folder); err != nil || l.Find("interceptor-4") != nil {
		t.Errorf("it was added halfway: %v", err)
	}
	if _, err := os.Stat(filepath.Join(folder, "interceptor-4.yaml")); !os.IsNotExist(err) {
		t.Error("its file was written")
	}
}
