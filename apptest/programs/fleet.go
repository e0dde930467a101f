package programs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Fleet is the four programs as separate processes, configured by the samples in deploy/config with
// addresses of their own, on a broker and a database.
type Fleet struct {
	t          testing.TB
	bin        Binaries
	env        []string
	ConfigFile string // of the operator's commands
	Edge       string // http://host:port

	Counter, Backend, Consumer, Interceptor *Process
}

// StartFleet writes the configs and starts the programs. amqpURL and mysqlDSN name a virtual host and
// a database that nobody else uses; prefix begins the names of the queues.
func StartFleet(t testing.TB, bin Binaries, amqpURL, mysqlDSN, prefix string) *Fleet {
	t.Helper()
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	f := &Fleet{t: t, bin: bin, env: []string{
		"HEADGATE_TOKEN_SECRET=" + strings.Repeat("token-secret-", 4),
		"HEADGATE_TICKET_SECRET=" + strings.Repeat("ticket-secret-", 3),
		"HEADGATE_HOP_SECRET=" + strings.Repeat("hop-secret-", 3),
		"HEADGATE_COUNTER_CLIENT_PASSWORD=client-password", "HEADGATE_COUNTER_OPERATOR_PASSWORD=operator-password",
		"HEADGATE_AMQP_URL=" + amqpURL, "HEADGATE_MYSQL_DSN=" + mysqlDSN,
	}}
	folder := t.TempDir()
	ports := FreePorts(t, 7) // edge, counter, backend, and four admin servers
	f.Edge = "http://" + ports[0]
	admins := map[string]string{"interceptor": ports[3], "counter": ports[4], "backend": ports[5], "consumer": ports[6]}
	for _, name := range []string{"interceptor", "counter", "backend", "consumer", "headgate"} {
		c := ReadConfig(t, filepath.Join(root, "deploy", "config", name+".yaml"))
		for old, new := range map[string]string{
			"0.0.0.0:8080": ports[0], "edge-1:8080": ports[0], "0.0.0.0:7380": ports[1], "counter-1:7380": ports[1],
			"0.0.0.0:8090": ports[2], "backend-1:8090": ports[2], "/var/lib/headgate/counter": filepath.Join(folder, "counter"),
		} {
			c.Replace(old, new)
		}
		switch name {
		case "interceptor":
			c.Set("server.drain_grace", "0s")
			c.Set("limits.node_rate", 0)
		case "backend", "consumer":
			c.Set("queue.prefix", prefix)
		case "headgate":
			c.Set("backend.queue.prefix", prefix)
		}
		if admin := admins[name]; admin != "" {
			c.Set("service.admin", admin)
			c.Set("service.log_format", "text")
		}
		c.Write(filepath.Join(folder, name+".yaml"))
	}
	f.ConfigFile = filepath.Join(folder, "headgate.yaml")
	start := func(name string) *Process {
		return Start(t, Spec{Name: name, Path: bin.Path(name), Args: []string{"--config", filepath.Join(folder, name+".yaml")},
			Env: f.env, Ready: "http://" + admins[name] + "/readyz"})
	}
	f.Counter = start("counter")
	f.Backend = start("backend")
	f.Consumer = start("consumer")
	f.Interceptor = start("interceptor")
	return f
}

// Stop ends the programs gently, the edge first, and fails the test for one that does not end well.
func (f *Fleet) Stop() {
	f.t.Helper()
	for _, p := range []*Process{f.Interceptor, f.Backend, f.Consumer, f.Counter} {
		if code := p.Stop(40 * time.Second); code != 0 {
			f.t.Errorf("%s ended with exit code %d when asked to stop\n%s", p.spec.Name, code, p.Log())
		}
	}
}

// CLI runs `headgate ARGS... --config FILE` with the fleet's secrets in the environment.
func (f *Fleet) CLI(args ...string) Result {
	f.t.Helper()
	return run(f.t, append(os.Environ(), f.env...), f.bin.Path("headgate"), append(args, "--config", f.ConfigFile)...)
}
