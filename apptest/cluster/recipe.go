//go:build linux

package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"headgate.example/apptest/services"
)

// recipe is how a member is run.
type recipe struct {
	// commands are started in their order, the last one is the member itself. Each works in the cluster's folder.
	commands func() []*exec.Cmd
	// ready tells why it is not, nil when it is.
	ready func(ctx context.Context) error
	// stop is the signal that asks it to end gently.
	stop syscall.Signal
	// version asks the program.
	version string
	// control runs the service's own tool; nil: it has none.
	control func(ctx context.Context, args []string) *exec.Cmd
}

const (
	probeWithin   = 2 * time.Second
	versionWithin = 5 * time.Second
)

// recipeOf makes what a member needs on disk and tells how to run it. bin is where Headgate's programs are.
func (s *Supervisor) recipeOf(ctx context.Context, e *Entry, bin string) (*recipe, error) {
	own := s.folder.join(e.Name)
	switch e.Kind {
	case RabbitMQ:
		plan, err := services.PlanRabbitMQ(own, services.RabbitMQOptions{Port: e.Ports[0], Distribution: e.Ports[1], Names: e.Ports[2],
			User: amqpUser, Password: s.secret("HEADGATE_AMQP_PASSWORD")})
		return fromPlan(plan, err, rabbitVersion())
	case MariaDB:
		plan, err := services.PlanMariaDB(ctx, own, services.MariaDBOptions{Port: e.Ports[0], Init: mariaSetup(s.secret("HEADGATE_MYSQL_PASSWORD"))})
		return fromPlan(plan, err, versionOf(ctx, "mariadbd", "--version"))
	case Nginx:
		return s.nginx(ctx, e)
	}
	path := filepath.Join(bin, e.Kind)
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("%w (make build)", err)
	}
	return &recipe{
		commands: func() []*exec.Cmd {
			cmd := exec.Command(path, "--config", e.Config) //nolint:gosec // ours
			cmd.Dir, cmd.Env = s.folder.Path, s.programEnv()
			return []*exec.Cmd{cmd}
		},
		ready:   func(ctx context.Context) error { return probe(ctx, "http://"+e.Admin+"/readyz") },
		stop:    syscall.SIGTERM,
		version: versionOf(ctx, path, "--version"),
	}, nil
}

func fromPlan(p *services.Plan, err error, version string) (*recipe, error) {
	if err != nil {
		return nil, err
	}
	return &recipe{
		commands: p.Commands, stop: syscall.SIGTERM, version: version, control: p.Control,
		ready: func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, probeWithin)
			defer cancel()
			return p.Ready(ctx, p.Addr)
		},
	}, nil
}

// mariaSetup is run by the server at each start: the programs' account and database, and nobody else over TCP.
func mariaSetup(password string) string {
	return fmt.Sprintf(`CREATE DATABASE IF NOT EXISTS %[1]s CHARACTER SET utf8mb4;
CREATE USER IF NOT EXISTS '%[1]s'@'127.0.0.1';
ALTER USER '%[1]s'@'127.0.0.1' IDENTIFIED BY '%[2]s';
GRANT ALL ON %[1]s.* TO '%[1]s'@'127.0.0.1';
DROP USER IF EXISTS 'root'@'127.0.0.1', 'root'@'::1';
`, mysqlUser, password)
}

// nginxArgs are those that nginx is started with, in a folder that is made.
func (s *Supervisor) nginxArgs(e *Entry) (path string, args []string, err error) {
	own := s.folder.join(e.Name)
	for _, folder := range []string{"temp", "cache"} {
		err = errors.Join(err, os.MkdirAll(filepath.Join(own, folder), 0o700))
	}
	args = []string{"-p", own + "/", "-c", e.Config, "-e", filepath.Join(own, "error.log")}
	if os.Geteuid() == 0 {
		args = append(args, "-g", "user root;") // its workers, or they could not enter our folder
	}
	return s.tools[services.Nginx], args, err
}

// checkNginx has nginx read its config.
func (s *Supervisor) checkNginx(ctx context.Context, e *Entry) error {
	path, args, err := s.nginxArgs(e)
	if err != nil {
		return err
	}
	check := exec.CommandContext(ctx, path, append([]string{"-t", "-q"}, args...)...) //nolint:gosec // a path that we found
	if said, err := check.CombinedOutput(); err != nil {
		return fmt.Errorf("a config file is wrong: nginx -t: %s", bytes.TrimSpace(said))
	}
	return nil
}

func (s *Supervisor) nginx(ctx context.Context, e *Entry) (*recipe, error) {
	path, args, err := s.nginxArgs(e)
	if err != nil {
		return nil, err
	}
	return &recipe{
		commands: func() []*exec.Cmd {
			cmd := exec.Command(path, args...) //nolint:gosec // a path that we found
			cmd.Dir = s.folder.Path
			return []*exec.Cmd{cmd}
		},
		ready: func(ctx context.Context) error { // any answer will do
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+e.Address()+"/.headgate/", nil)
			if err != nil {
				return err
			}
			client := http.Client{Timeout: probeWithin}
			response, err := client.Do(request)
			if err == nil {
				_ = response.Body.Close()
			}
			return err
		},
		stop:    syscall.SIGQUIT, // what is under way is finished
		version: versionOf(ctx, path, "-v"),
	}, nil
}

// programEnv is our environment with the secrets, and without other settings of Headgate.
func (s *Supervisor) programEnv() []string {
	var env []string
	for _, each := range os.Environ() {
		if !strings.HasPrefix(each, "HEADGATE_") {
			env = append(env, each)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return append(env, s.env...)
}

func probe(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, probeWithin)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"?verbose", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	const most = 2048
	text, _ := io.ReadAll(io.LimitReader(response.Body, most))
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %d %s", url, response.StatusCode, strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", "; "))
	}
	return nil
}

var versionWord = regexp.MustCompile(`\b(?:v?[0-9]+\.[0-9][^\s,]*|[0-9a-f]{7,40}[^\s,]*|devel[^\s,]*|unversioned)`)

// versionOf is the version that a program tells of itself, "?" when it does not.
func versionOf(ctx context.Context, path string, arg string) string {
	ctx, cancel := context.WithTimeout(ctx, versionWithin)
	defer cancel()
	said, err := exec.CommandContext(ctx, path, arg).CombinedOutput() //nolint:gosec // a program of the cluster
	if found := versionWord.Find(said); err == nil && found != nil {
		return string(found)
	}
	return "?"
}

// rabbitVersion reads it from where Debian puts the broker: its own tool would take seconds.
func rabbitVersion() string {
	found, err := filepath.Glob("/usr/lib/rabbitmq/lib/rabbitmq_server-*")
	if err != nil || len(found) == 0 {
		return "?"
	}
	_, version, _ := strings.Cut(filepath.Base(found[len(found)-1]), "-")
	return version
}
