package cluster

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The kinds of members.
const (
	Nginx       = "nginx"
	Interceptor = "interceptor"
	Counter     = "counter"
	Backend     = "backend"
	Consumer    = "consumer"
	RabbitMQ    = "rabbitmq"
	MariaDB     = "mariadb"
)

// LayoutFile lists the members, in a folder with their config files.
const LayoutFile = "cluster.yaml"

// MaxMembers bounds a cluster.
const MaxMembers = 100

const (
	minCPU = 0.01 // below it, a program stands still for more than a tenth of a second at a time
	maxCPU = 64
)

// Layout is what cluster.yaml says, with what the members' own files say of their ports.
type Layout struct {
	Members []Entry `yaml:"members"`
}

// Entry is one member.
type Entry struct {
	Name string `yaml:"name"`
	// Config is the member's config file; relative to cluster.yaml in the file, absolute once it is read.
	Config string `yaml:"config"`
	// CPU is the most it may use, in processors; 0: no bound.
	CPU float64 `yaml:"cpu"`
	// Ports are those of members without a config file.
	Ports []int `yaml:"ports"`

	Kind  string `yaml:"-"`
	Shard string `yaml:"-"` // of a counter
	// Listens are host:port, and the field of the config file that says so. The first one is what clients use.
	Listens []Listen `yaml:"-"`
	Admin   string   `yaml:"-"` // host:port; "": none
	DataDir string   `yaml:"-"` // of a counter, as its config has it
}

// Listen is one address that a member listens on.
type Listen struct{ Address, Field string }

// Address is what clients use; "" where there is none.
func (e *Entry) Address() string {
	if e.Kind == Consumer || len(e.Listens) == 0 {
		return ""
	}
	return e.Listens[0].Address
}

var nameOf = regexp.MustCompile(`^(?:(nginx|rabbitmq|mariadb)|(interceptor|backend|consumer)-[0-9]{1,3}|(counter)-([a-z][a-z0-9]{0,15})-[0-9]{1,2})$`)

// ReadLayout reads cluster.yaml of a folder, and of each member's config file what it listens on.
func ReadLayout(folder string) (*Layout, error) {
	path := filepath.Join(folder, LayoutFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("the list of members: %w", err)
	}
	var l Layout
	decoder := yaml.NewDecoder(strings.NewReader(string(text)))
	decoder.KnownFields(true)
	if err := decoder.Decode(&l); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(l.Members) == 0 || len(l.Members) > MaxMembers {
		return nil, fmt.Errorf("%s: members: want 1 to %d, got %d", path, MaxMembers, len(l.Members))
	}
	var errs []error
	seen := make(map[string]bool)
	taken := make(map[string]string) // address: who
	for i := range l.Members {
		e := &l.Members[i]
		if err := e.complete(folder); err != nil {
			errs = append(errs, fmt.Errorf("%s: %s: %w", path, e.Name, err))
			continue
		}
		if seen[e.Name] {
			errs = append(errs, fmt.Errorf("%s: %s is there twice", path, e.Name))
		}
		seen[e.Name] = true
		for _, at := range e.Listens {
			if other := taken[at.Address]; other != "" {
				errs = append(errs, fmt.Errorf("%s: %s of %s is taken by %s", at.Address, at.Field, e.Name, other))
			}
			taken[at.Address] = e.Name
		}
	}
	return &l, errors.Join(errs...)
}

func (e *Entry) complete(folder string) error {
	parts := nameOf.FindStringSubmatch(e.Name)
	if parts == nil {
		return errors.New("name: want nginx, rabbitmq, mariadb, interceptor-N, backend-N, consumer-N or counter-SHARD-N")
	}
	e.Kind, e.Shard = parts[1]+parts[2]+parts[3], parts[4]
	if e.CPU != 0 && (e.CPU < minCPU || e.CPU > maxCPU) {
		return fmt.Errorf("cpu: want %g to %d processors, got %g", minCPU, maxCPU, e.CPU)
	}
	if e.Kind == RabbitMQ || e.Kind == MariaDB {
		return e.takePorts()
	}
	if e.Config == "" || filepath.Base(e.Config) != e.Config {
		return errors.New("config: want the name of its config file, beside this one")
	}
	if len(e.Ports) > 0 {
		return errors.New("ports: its config file says them")
	}
	e.Config = filepath.Join(folder, e.Config)
	text, err := os.ReadFile(e.Config)
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	if e.Kind == Nginx {
		return e.readNginx(string(text))
	}
	return e.readProgram(text)
}

func (e *Entry) takePorts() error {
	fields := map[string][]string{RabbitMQ: {"AMQP", "Erlang's distribution", "Erlang's name server"}, MariaDB: {"port"}}[e.Kind]
	if len(e.Ports) != len(fields) || e.Config != "" {
		return fmt.Errorf("want no config, and ports: %s", strings.Join(fields, ", "))
	}
	for i, port := range e.Ports {
		if port < 1 || port > 65535 {
			return fmt.Errorf("ports: %d is none", port)
		}
		e.Listens = append(e.Listens, Listen{"127.0.0.1:" + strconv.Itoa(port), fields[i]})
	}
	return nil
}

var nginxListens = regexp.MustCompile(`(?m)^\s*listen\s+(127\.0\.0\.1:[0-9]+)\b[^;]*;`)

func (e *Entry) readNginx(text string) error {
	for _, found := range nginxListens.FindAllStringSubmatch(text, -1) {
		e.Listens = append(e.Listens, Listen{found[1], "listen"})
	}
	if len(e.Listens) == 0 {
		return fmt.Errorf("%s: no `listen 127.0.0.1:PORT`", e.Config)
	}
	return nil
}

// readProgram reads the few fields that matter here; `headgate check` reads the rest.
func (e *Entry) readProgram(text []byte) error {
	var c struct {
		Service struct {
			Admin string `yaml:"admin"`
		} `yaml:"service"`
		Listen     string `yaml:"listen"`
		RaftListen string `yaml:"raft_listen"`
		DataDir    string `yaml:"data_dir"`
		Shard      struct {
			Name string `yaml:"name"`
		} `yaml:"shard"`
	}
	if err := yaml.Unmarshal(text, &c); err != nil {
		return fmt.Errorf("%s: %w", e.Config, err)
	}
	if e.Kind == Counter && c.Shard.Name != e.Shard {
		return fmt.Errorf("%s: shard.name is %q, want %s as in its own name", e.Config, c.Shard.Name, e.Shard)
	}
	if e.Kind == Counter && (c.DataDir == "" || !filepath.IsLocal(c.DataDir)) {
		return fmt.Errorf("%s: data_dir: want a folder below the cluster's, got %q", e.Config, c.DataDir)
	}
	if c.Service.Admin == "" {
		return fmt.Errorf("%s: service.admin is missing: by it the cluster knows when the program is ready", e.Config)
	}
	e.Admin, e.DataDir = c.Service.Admin, c.DataDir
	for _, at := range []Listen{{c.Listen, "listen"}, {c.RaftListen, "raft_listen"}, {c.Service.Admin, "service.admin"}} {
		if at.Address == "" {
			continue
		}
		if host, _, err := net.SplitHostPort(at.Address); err != nil || host != "127.0.0.1" {
			return fmt.Errorf("%s: %s: want 127.0.0.1:PORT, got %q", e.Config, at.Field, at.Address)
		}
		e.Listens = append(e.Listens, at)
	}
	return nil
}

// Find gives the member of a name, nil when there is none.
func (l *Layout) Find(name string) *Entry {
	if i := slices.IndexFunc(l.Members, func(e Entry) bool { return e.Name == name }); i >= 0 {
		return &l.Members[i]
	}
	return nil
}

// Of gives the members of a kind, in their order.
func (l *Layout) Of(kind string) (found []*Entry) {
	for i := range l.Members {
		if l.Members[i].Kind == kind {
			found = append(found, &l.Members[i])
		}
	}
	return found
}

// Shards gives the names of the counter's shards, in their order.
func (l *Layout) Shards() (names []string) {
	for _, e := range l.Of(Counter) {
		if !slices.Contains(names, e.Shard) {
			names = append(names, e.Shard)
		}
	}
	return names
}

// Edge is where buyers come in: nginx, or the first interceptor where there is none. "": nowhere.
func (l *Layout) Edge() string {
	for _, kind := range []string{Nginx, Interceptor} {
		if all := l.Of(kind); len(all) > 0 {
			return "http://" + all[0].Address()
		}
	}
	return ""
}

// startOrder puts what others need first: those of one step start side by side.
func startOrder() [][]string {
	return [][]string{{RabbitMQ, MariaDB, Counter}, {Backend, Consumer}, {Interceptor}, {Nginx}}
}
