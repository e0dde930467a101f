//go:build unix

package services

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
)

// The names of what can be asked for.
const (
	RabbitMQ = "rabbitmq"
	MariaDB  = "mariadb"
	Redis    = "redis"
	Nginx    = "nginx"
	Chromium = "chromium"
	Wrk      = "wrk"
	JMeter   = "jmeter"
	Nftables = "nftables"
	Promtool = "promtool"
)

// Names gives all of them.
func Names() []string {
	return []string{RabbitMQ, MariaDB, Redis, Nginx, Chromium, Wrk, JMeter, Nftables, Promtool}
}

// CheckNames refuses a name that is not one of Names.
func CheckNames(names []string) error {
	for _, name := range names {
		if !slices.Contains(Names(), name) {
			return fmt.Errorf("unknown service %q: want any of %s", name, strings.Join(Names(), ", "))
		}
	}
	return nil
}

// Options of Start.
type Options struct {
	Only      []string  // names; empty: all
	NoInstall bool      // leave absent packages absent
	Output    io.Writer // progress and what could not be had; nil: standard error
}

// Set is what Start could get. A service that is nil or a path that is empty is in Missing.
type Set struct {
	RabbitMQ *Instance
	MariaDB  *Instance
	RedisCLI string            // path of redis-cli
	Chromium string            // path of the browser
	Nginx    string            // path of nginx
	Wrk      string            // path of wrk, the load generator
	JMeter   string            // folder of JMeter, the load generator
	Nftables string            // path of nft, which cuts a cluster's members off
	Promtool string            // path of promtool, which checks the files for Prometheus
	Missing  map[string]string // name: why it could not be had

	dir string
}

// Start installs what is absent, then starts the services side by side and waits until they answer. A
// service that cannot be had is left out, reported on Output and listed in Missing; the error is for a
// context that ended, and then everything is stopped.
func Start(ctx context.Context, options Options) (*Set, error) {
	if err := CheckNames(options.Only); err != nil {
		return nil, err
	}
	out := options.Output
	if out == nil {
		out = os.Stderr
	}
	wanted := options.Only
	if len(wanted) == 0 {
		wanted = Names()
	}
	s := &Set{Missing: map[string]string{}}
	if !options.NoInstall {
		install(ctx, wanted, out)
	}
	var err error
	if s.dir, err = os.MkdirTemp("", "headgate-services-"); err != nil {
		return nil, fmt.Errorf("a folder for the services: %w", err)
	}
	s.find(wanted)
	s.start(ctx, wanted)
	if err := ctx.Err(); err != nil {
		return nil, errors.Join(fmt.Errorf("starting the services: %w", context.Cause(ctx)), s.Stop())
	}
	s.report(out)
	return s, nil
}

// Find installs what is absent, as Start does, and starts nothing: it gives the path of each program, or
// says why one cannot be had.
func Find(ctx context.Context, names []string, out io.Writer) (paths, missing map[string]string, err error) {
	if err := CheckNames(names); err != nil {
		return nil, nil, err
	}
	install(ctx, names, out)
	return FindInstalled(ctx, names, out)
}

// FindInstalled is Find without installing.
func FindInstalled(ctx context.Context, names []string, _ io.Writer) (paths, missing map[string]string, err error) {
	if err := CheckNames(names); err != nil {
		return nil, nil, err
	}
	paths, missing = make(map[string]string), make(map[string]string)
	for _, name := range names {
		path, err := lookUp(name)
		if err != nil {
			missing[name] = err.Error()
			continue
		}
		paths[name] = path
	}
	return paths, missing, ctx.Err()
}

// LookUp gives the path of an installed program by its name here.
func LookUp(name string) (string, error) { return lookUp(name) }

// find looks for the programs that tests start themselves.
func (s *Set) find(wanted []string) {
	for _, p := range []struct {
		name string
		into *string
	}{{Redis, &s.RedisCLI}, {Chromium, &s.Chromium}, {Nginx, &s.Nginx}, {Wrk, &s.Wrk}, {JMeter, &s.JMeter}, {Nftables, &s.Nftables}, {Promtool, &s.Promtool}} {
		if !slices.Contains(wanted, p.name) {
			continue
		}
		path, err := lookUp(p.name)
		if err != nil {
			s.Missing[p.name] = err.Error()
			continue
		}
		*p.into = path
	}
}

func (s *Set) start(ctx context.Context, wanted []string) {
	var mu sync.Mutex
	var starting sync.WaitGroup
	for _, p := range []struct {
		name  string
		into  **Instance
		start func(context.Context, string) (*Instance, error)
	}{{RabbitMQ, &s.RabbitMQ, StartRabbitMQ}, {MariaDB, &s.MariaDB, StartMariaDB}} {
		if !slices.Contains(wanted, p.name) {
			continue
		}
		starting.Go(func() {
			instance, err := p.start(ctx, s.dir)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				s.Missing[p.name] = err.Error()
				return
			}
			*p.into = instance
		})
	}
	starting.Wait()
}

// report writes a line for each service, loud for those that could not be had.
func (s *Set) report(out io.Writer) {
	for _, i := range s.instances() {
		fmt.Fprintf(out, "services: %s answers on %s\n", i.Name(), i.Addr()) //nolint:errcheck // progress
	}
	for _, name := range Names() {
		if why, ok := s.Missing[name]; ok {
			fmt.Fprintf(out, "services: !!! NO %s: its tests are skipped, or fail when CI=true: %s\n", strings.ToUpper(name), why) //nolint:errcheck // progress
		}
	}
}

// Env gives the variables that tests read, as NAME=value. What could not be had has none.
func (s *Set) Env() []string {
	var env []string
	add := func(name, value string) {
		if value != "" {
			env = append(env, name+"="+value)
		}
	}
	if s.RabbitMQ != nil {
		add("HEADGATE_TEST_AMQP_URL", s.RabbitMQ.URL())
	}
	if s.MariaDB != nil {
		add("HEADGATE_TEST_MYSQL_DSN", s.MariaDB.URL())
	}
	add("HEADGATE_TEST_REDIS_CLI", s.RedisCLI)
	add("HEADGATE_TEST_CHROMIUM", s.Chromium)
	add("HEADGATE_TEST_NGINX", s.Nginx)
	add("HEADGATE_TEST_WRK", s.Wrk)
	add("HEADGATE_TEST_JMETER", s.JMeter)
	add("HEADGATE_TEST_NFT", s.Nftables)
	add("HEADGATE_TEST_PROMTOOL", s.Promtool)
	return env
}

func (s *Set) instances() []*Instance {
	var list []*Instance
	for _, i := range []*Instance{s.RabbitMQ, s.MariaDB} {
		if i != nil {
			list = append(list, i)
		}
	}
	return list
}

// Stop ends every service and removes their folder. Their data is gone.
func (s *Set) Stop() error {
	var errs []error
	for _, i := range s.instances() {
		errs = append(errs, i.Stop())
	}
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}
