package programs

import (
	"crypto/rand"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Secrets of a Fleet that tests use themselves. The programs run in production mode, which takes no weaker ones.
const (
	ClientPassword   = "LHT3WQ7MZB5XKE2VRN6PJDYCGA4FSU-client-of-a-fleet"
	OperatorPassword = "V6RN2KPJ5DYXCGA7QLHT3WMZBE4FSU-operator-of-a-fleet"
	TicketSecret     = "ZBE4FSUV6RN2KPJ5DYXCGA7QLHT3WM-tickets-of-a-fleet"
)

// FleetSpec says what a Fleet runs on.
type FleetSpec struct {
	// AMQP and MySQL name a virtual host and a database that nobody else uses. Without them it is the
	// embedded queue and SQLite, on files that the programs share.
	AMQP, MySQL string
	// Prefix begins the names of the queues.
	Prefix string
	// Shards is the number of counters, one voter each (default 1).
	Shards int
	// Backends is the number of backends behind the edge (default 1).
	Backends int
	// Consumers is the number of consumers on the same queue (default 1).
	Consumers int
	// Edit changes a program's config; nil: it stays.
	Edit func(program string, c *Config)
}

// Fleet is the programs as separate processes, configured by the samples in deploy/config with
// addresses of their own.
type Fleet struct {
	t          testing.TB
	bin        Binaries
	env        []string
	folder     string
	ports      map[string]string // of each program's admin server
	extras     atomic.Int64      // were launched
	ConfigFile string            // of the operator's commands
	Edge       string            // http://host:port
	LedgerFile string            // of SQLite
	RESP       []string          // host:port of each shard

	Counter, Backend, Consumer, Interceptor *Process
	Counters                                []*Process // one for each shard; the first is Counter
	Backends                                []*Process // the first is Backend
	Consumers                               []*Process // the first is Consumer
}

// StartFleet writes the configs and starts the programs on a broker and a database.
func StartFleet(t testing.TB, bin Binaries, amqpURL, mysqlDSN, prefix string) *Fleet {
	t.Helper()
	return NewFleet(t, bin, FleetSpec{AMQP: amqpURL, MySQL: mysqlDSN, Prefix: prefix})
}

// NewFleet writes the configs and starts the programs.
func NewFleet(t testing.TB, bin Binaries, spec FleetSpec) *Fleet {
	t.Helper()
	spec.Shards, spec.Backends, spec.Consumers = max(spec.Shards, 1), max(spec.Backends, 1), max(spec.Consumers, 1)
	f := &Fleet{t: t, bin: bin, folder: t.TempDir(), ports: make(map[string]string), env: []string{
		"HEADGATE_TOKEN_SECRET=" + newSecret(), "HEADGATE_TICKET_SECRET=" + TicketSecret,
		"HEADGATE_PAYMENT_SECRET=" + newSecret(), "HEADGATE_HOP_SECRET=" + newSecret(),
		"HEADGATE_COUNTER_CLIENT_PASSWORD=" + ClientPassword, "HEADGATE_COUNTER_OPERATOR_PASSWORD=" + OperatorPassword,
		"HEADGATE_AMQP_URL=" + spec.AMQP, "HEADGATE_MYSQL_DSN=" + spec.MySQL,
	}}
	f.LedgerFile = filepath.Join(f.folder, "ledger.db")
	f.ConfigFile = filepath.Join(f.folder, "headgate.yaml")
	f.writeConfigs(&spec)
	f.Counters = f.startAll(counterName, 0, spec.Shards)
	f.Backends = append(f.startAll(backendName, 0, 1), f.startAll(backendName, 1, spec.Backends)...) // the first makes the tables
	f.Consumers = f.startAll(consumerName, 0, spec.Consumers)
	f.Counter, f.Backend, f.Consumer = f.Counters[0], f.Backends[0], f.Consumers[0]
	f.Interceptor = f.start("interceptor")
	return f
}

func newSecret() string { return rand.Text() + rand.Text() }

func counterName(shard int) string { return fmt.Sprintf("counter-s%d", shard+1) }

func backendName(i int) string { return numbered("backend", i) }

func consumerName(i int) string { return numbered("consumer", i) }

func numbered(name string, i int) string {
	if i == 0 {
		return name
	}
	return fmt.Sprintf("%s-%d", name, i+1)
}

// program is the binary of a process's name.
func program(name string) string {
	for _, program := range []string{"counter", "interceptor", "backend", "consumer"} {
		if strings.HasPrefix(name, program) {
			return program
		}
	}
	return name
}

func (f *Fleet) writeConfigs(spec *FleetSpec) {
	f.t.Helper()
	root, err := Root()
	if err != nil {
		f.t.Fatal(err)
	}
	names := []string{"interceptor", "backend", "consumer", "headgate"}
	var shards []any
	ports := FreePorts(f.t, 5+2*spec.Shards) // edge, backend and three admin servers; two for each counter
	f.Edge = "http://" + ports[0]
	f.ports["interceptor"], f.ports["backend"], f.ports["consumer"] = ports[2], ports[3], ports[4]
	for i := range spec.Shards {
		name, address := counterName(i), ports[5+2*i]
		f.RESP, f.ports[name], names = append(f.RESP, address), ports[6+2*i], append(names, name)
		shards = append(shards, map[string]any{"name": fmt.Sprintf("s%d", i+1), "number": i, "addresses": []any{address}})
	}
	upstreams := []any{ports[1]}
	for i := 1; i < spec.Backends; i++ {
		own := FreePorts(f.t, 2)
		upstreams, names = append(upstreams, own[0]), append(names, backendName(i))
		f.ports[backendName(i)] = own[1]
	}
	for i := 1; i < spec.Consumers; i++ {
		names = append(names, consumerName(i))
		f.ports[consumerName(i)] = FreePorts(f.t, 1)[0]
	}
	for _, name := range names {
		c := ReadConfig(f.t, filepath.Join(root, "deploy", "config", program(name)+".yaml"))
		for old, new := range map[string]string{
			"0.0.0.0:8080": ports[0], "edge-1:8080": ports[0], "0.0.0.0:8090": ports[1], "backend-1:8090": ports[1],
			"/var/lib/headgate/counter": filepath.Join(f.folder, name),
		} {
			c.Replace(old, new)
		}
		for i := 1; i < spec.Backends; i++ {
			if name == backendName(i) {
				c.Set("listen", upstreams[i])
			}
		}
		if program(name) == "interceptor" && spec.Backends > 1 {
			c.Set("upstreams", []any{map[string]any{"name": "backend", "addresses": upstreams, "health": map[string]any{"path": "/healthz"}}})
		}
		f.adapt(c, name, spec, shards)
		if spec.Edit != nil {
			spec.Edit(name, c)
		}
		c.Write(filepath.Join(f.folder, name+".yaml"))
	}
}

// adapt sets what a program needs otherwise than its sample has it.
func (f *Fleet) adapt(c *Config, name string, spec *FleetSpec, shards []any) {
	sections := []string{""} // where queue and database stand
	switch program(name) {
	case "interceptor":
		c.Set("server.drain_grace", "0s")
		c.Set("limits.node_bucket.mode", "off")
		c.Set("counter.shards", shards)
		sections = nil
	case "counter":
		own := 0
		for i := range shards {
			if counterName(i) == name {
				own = i
			}
		}
		var peers []any
		for i, shard := range shards {
			if i != own {
				peers = append(peers, shard)
			}
		}
		c.Set("listen", f.RESP[own])
		c.Set("shard", map[string]any{"name": fmt.Sprintf("s%d", own+1), "number": own})
		c.Set("peers", peers)
		sections = nil
	case "headgate":
		sections = []string{"backend.", "consumer."}
		c.Set("admins", slices.Sorted(maps.Values(f.ports)))
		for _, layer := range []string{"interceptor", "backend", "consumer"} {
			c.Set(layer+".counter.shards", shards)
		}
	default:
		c.Set("counter.shards", shards)
	}
	for _, section := range sections {
		if spec.AMQP == "" {
			c.Set(section+"queue", map[string]any{"driver": "embedded", "path": filepath.Join(f.folder, "queue.db")})
			c.Set(section+"database", map[string]any{"driver": "sqlite", "path": f.LedgerFile})
		} else {
			c.Set(section+"queue.prefix", spec.Prefix)
		}
	}
	if admin := f.ports[name]; admin != "" {
		c.Set("service.admin", admin)
		c.Set("service.log_format", "text")
	}
}

func (f *Fleet) start(name string) *Process {
	f.t.Helper()
	p := f.launch(name)
	p.WaitReady()
	return p
}

// startAll starts the programs from a number up to another together, and waits until all are ready.
func (f *Fleet) startAll(name func(i int) string, from, to int) (all []*Process) {
	f.t.Helper()
	for i := from; i < to; i++ {
		all = append(all, f.launch(name(i)))
	}
	for _, p := range all {
		p.WaitReady()
	}
	return all
}

// launch is start without waiting.
func (f *Fleet) launch(name string) *Process {
	f.t.Helper()
	return Launch(f.t, Spec{Name: name, Path: f.bin.Path(program(name)), Args: []string{"--config", filepath.Join(f.folder, name+".yaml")},
		Env: f.env, Ready: "http://" + f.ports[name] + "/readyz"})
}

// StartCounter starts a shard, counted from 0, again after it was killed, and waits until it is ready.
func (f *Fleet) StartCounter(shard int) {
	f.t.Helper()
	f.Counters[shard] = f.start(counterName(shard))
	f.Counter = f.Counters[0]
}

// StartBackend starts a backend, counted from 0, again after it has ended, and waits until it is ready.
func (f *Fleet) StartBackend(i int) {
	f.t.Helper()
	f.Backends[i] = f.start(backendName(i))
	f.Backend = f.Backends[0]
}

// StartConsumer starts a consumer, counted from 0, again after it has ended, and waits until it is ready.
func (f *Fleet) StartConsumer(i int) {
	f.t.Helper()
	f.Consumers[i] = f.start(consumerName(i))
	f.Consumer = f.Consumers[0]
}

// StartConsumers starts all consumers again after they have ended, together, and waits until they are ready.
func (f *Fleet) StartConsumers() {
	f.t.Helper()
	f.Consumers = f.startAll(consumerName, 0, len(f.Consumers))
	f.Consumer = f.Consumers[0]
}

// StartInterceptor starts the edge again after it was killed.
func (f *Fleet) StartInterceptor() {
	f.t.Helper()
	f.Interceptor = f.start("interceptor")
}

// CounterFolder is the data folder of a shard, counted from 0.
func (f *Fleet) CounterFolder(shard int) string { return filepath.Join(f.folder, counterName(shard)) }

// CounterConfig is the config file of a shard, counted from 0.
func (f *Fleet) CounterConfig(shard int) string {
	return filepath.Join(f.folder, counterName(shard)+".yaml")
}

// Admin is http://host:port of a program's admin server.
func (f *Fleet) Admin(program string) string { return "http://" + f.ports[program] }

// Stop ends the programs gently, the edge first, and fails the test for one that does not end well.
func (f *Fleet) Stop() {
	f.t.Helper()
	for _, p := range slices.Concat([]*Process{f.Interceptor}, f.Backends, f.Consumers, f.Counters) {
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
