//go:build unix

package services

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// brokerConfig keeps the broker on the loopback interface and small: without a bound its raft log alone
// would take half a gigabyte.
const brokerConfig = `listeners.tcp.1 = 127.0.0.1:%d
loopback_users.guest = true
default_user = %s
default_pass = %s
log.file.level = warning
log.console = false
vm_memory_high_watermark.absolute = 1GB
disk_free_limit.absolute = 50MB
raft.wal_max_size_bytes = 67108864
collect_statistics_interval = 60000
`

// CalmWatermark is brokerConfig's bound of memory, as `rabbitmqctl set_vm_memory_high_watermark` takes it.
func CalmWatermark() []string { return []string{"absolute", "1GB"} }

// RabbitMQOptions of PlanRabbitMQ.
type RabbitMQOptions struct {
	// Port is AMQP's; Distribution and Names (Erlang's name server) are used by the broker's own tools.
	Port, Distribution, Names int
	// User and Password of the one account, made at the first start.
	User, Password string
}

// PlanRabbitMQ tells how a broker runs in a folder, which is made, together with its config files.
func PlanRabbitMQ(dir string, o RabbitMQOptions) (*Plan, error) {
	server, err := lookUp(RabbitMQ)
	if err != nil {
		return nil, err
	}
	epmd, err := lookUpEPMD()
	if err != nil {
		return nil, err
	}
	p := &Plan{
		Name: "RabbitMQ", Dir: dir, Addr: fmt.Sprintf("127.0.0.1:%d", o.Port),
		URL: fmt.Sprintf("amqp://%s:%s@127.0.0.1:%d/", o.User, o.Password, o.Port), Ready: brokerReady,
	}
	err = writeFiles(dir, map[string]string{
		"rabbitmq.conf":   fmt.Sprintf(brokerConfig, o.Port, o.User, o.Password),
		"advanced.config": "[].\n",
		"enabled_plugins": "[].\n",
	})
	if err != nil {
		return nil, err
	}
	env := []string{
		"PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8", "HOME=" + dir,
		"RABBITMQ_NODENAME=" + fmt.Sprintf("headgate-%d@localhost", o.Port),
		"RABBITMQ_NODE_IP_ADDRESS=127.0.0.1",
		fmt.Sprintf("RABBITMQ_NODE_PORT=%d", o.Port),
		fmt.Sprintf("RABBITMQ_DIST_PORT=%d", o.Distribution),
		fmt.Sprintf("ERL_EPMD_PORT=%d", o.Names), "ERL_EPMD_ADDRESS=127.0.0.1",
		"RABBITMQ_MNESIA_BASE=" + filepath.Join(dir, "mnesia"),
		"RABBITMQ_LOG_BASE=" + dir, "RABBITMQ_LOGS=" + filepath.Join(dir, "broker.log"),
		"RABBITMQ_CONF_ENV_FILE=/dev/null",
		"RABBITMQ_CONFIG_FILE=" + filepath.Join(dir, "rabbitmq.conf"),
		"RABBITMQ_ADVANCED_CONFIG_FILE=" + filepath.Join(dir, "advanced.config"),
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + filepath.Join(dir, "enabled_plugins"),
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none",
		"ERL_CRASH_DUMP=/dev/null",
	}
	p.Commands = func() []*exec.Cmd {
		// The name server is ours: one that the broker starts would outlive it.
		daemon := exec.Command(epmd, "-port", fmt.Sprint(o.Names), "-address", "127.0.0.1") //nolint:gosec // paths that we found
		broker := exec.Command(server)                                                      //nolint:gosec // likewise
		daemon.Env, broker.Env = env, env
		daemon.Dir, broker.Dir = dir, dir
		return []*exec.Cmd{daemon, broker}
	}
	p.Control = func(ctx context.Context, args []string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, filepath.Join(filepath.Dir(server), "rabbitmqctl"), args...) //nolint:gosec // beside the server
		cmd.Env, cmd.Dir = env, dir
		return cmd
	}
	return p, nil
}

// StartRabbitMQ starts a broker in a new folder below dir. Its user is guest, password guest.
func StartRabbitMQ(ctx context.Context, dir string) (*Instance, error) {
	own, release, err := reservePorts(3)
	if err != nil {
		return nil, err
	}
	plan, err := PlanRabbitMQ(filepath.Join(dir, fmt.Sprintf("rabbitmq-%d", own[0])),
		RabbitMQOptions{Port: own[0], Distribution: own[1], Names: own[2], User: "guest", Password: "guest"})
	if err != nil {
		release()
		return nil, err
	}
	return start(ctx, plan, release)
}

// brokerReady asks for the protocol's first frame; the broker listens only when it has booted.
func brokerReady(ctx context.Context, addr string) error {
	answer, err := greeting(ctx, addr, []byte("AMQP\x00\x00\x09\x01"), 1)
	if err == nil && answer[0] != 1 {
		err = fmt.Errorf("first byte %d is no AMQP method frame", answer[0])
	}
	return err
}

func lookUpEPMD() (string, error) {
	if path, err := exec.LookPath("epmd"); err == nil {
		return path, nil
	}
	found, err := filepath.Glob("/usr/lib/erlang/erts-*/bin/epmd")
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("epmd of Erlang is not installed (in PATH or /usr/lib/erlang/erts-*/bin)")
	}
	return found[len(found)-1], nil
}

func writeFiles(dir string, files map[string]string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// lookUp finds a program by the service's name, also where daemons live outside of a user's PATH.
func lookUp(name string) (string, error) {
	if name == JMeter {
		return lookUpJMeter()
	}
	candidates := map[string][]string{
		RabbitMQ: {"/usr/lib/rabbitmq/bin/rabbitmq-server", "rabbitmq-server"}, // Debian's own in PATH insists on the system's user
		MariaDB:  {"mariadbd", "/usr/sbin/mariadbd"},
		Redis:    {"redis-cli"},
		Nginx:    {"nginx", "/usr/sbin/nginx"},
		Chromium: {"chromium", "chromium-browser", "google-chrome"},
		Wrk:      {"wrk"},
		Nftables: {"nft", "/usr/sbin/nft"},
		Promtool: {"promtool"},
	}[name]
	for _, c := range candidates {
		if path, err := exec.LookPath(c); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("not installed: looked for %s", strings.Join(candidates, ", "))
}
