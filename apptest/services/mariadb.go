//go:build unix

package services

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// StartMariaDB starts a database server in a new folder below dir. Its user is root, without a password.
func StartMariaDB(ctx context.Context, dir string) (*Instance, error) {
	server, err := lookUp(MariaDB)
	if err != nil {
		return nil, err
	}
	installer, err := exec.LookPath("mariadb-install-db")
	if err != nil {
		return nil, fmt.Errorf("mariadb-install-db is not installed")
	}
	ports, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	port := ports[0]
	i := &Instance{
		name: "MariaDB", dir: filepath.Join(dir, fmt.Sprintf("mariadb-%d", port)), addr: fmt.Sprintf("127.0.0.1:%d", port),
		url: fmt.Sprintf("root@tcp(127.0.0.1:%d)/", port), ready: databaseReady,
	}
	if err := os.MkdirAll(i.dir, 0o700); err != nil {
		return nil, err
	}
	base := []string{"--no-defaults", "--datadir=" + filepath.Join(i.dir, "data")}
	if os.Geteuid() == 0 {
		base = append(base, "--user=root") // it refuses root that was not asked for
	}
	create := exec.CommandContext(ctx, installer, append(base, "--auth-root-authentication-method=normal", "--skip-test-db")...) //nolint:gosec // paths that we found
	if output, err := create.CombinedOutput(); err != nil {
		_ = os.RemoveAll(i.dir)
		return nil, fmt.Errorf("mariadb-install-db: %w\n%s", err, output)
	}
	arguments := append(base,
		"--socket="+filepath.Join(i.dir, "s"), fmt.Sprintf("--port=%d", port), "--bind-address=127.0.0.1", "--skip-name-resolve",
		"--pid-file="+filepath.Join(i.dir, "pid"), "--log-error="+filepath.Join(i.dir, "server.log"), "--log-warnings=1",
		"--character-set-server=utf8mb4", "--collation-server=utf8mb4_general_ci",
		"--innodb-buffer-pool-size=64M", "--innodb-log-file-size=48M", "--max-connections=300", "--performance-schema=OFF",
	)
	i.begin = func(*Instance) ([]*exec.Cmd, error) {
		cmd := exec.Command(server, arguments...) //nolint:gosec // paths that we found
		cmd.Dir = i.dir
		return []*exec.Cmd{cmd}, nil
	}
	if err := i.start(ctx); err != nil {
		return nil, err
	}
	return i, nil
}

// databaseReady reads the server's greeting: a packet header of four bytes, then the protocol version.
func databaseReady(ctx context.Context, addr string) error {
	answer, err := greeting(ctx, addr, nil, 5)
	if err == nil && answer[4] != 10 {
		err = fmt.Errorf("byte %d is no MySQL greeting", answer[4])
	}
	return err
}
