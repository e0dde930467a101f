//go:build unix

package services

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// MariaDBOptions of PlanMariaDB.
type MariaDBOptions struct {
	Port int
	// Init is SQL that the server runs at every start, such as the making of a user; "": none.
	Init string
}

// PlanMariaDB tells how a database server runs in a folder. The folder and an empty database are made
// where there are none; one that is there is kept. Its user root has no password, unless Init changes that.
func PlanMariaDB(ctx context.Context, dir string, o MariaDBOptions) (*Plan, error) {
	server, err := lookUp(MariaDB)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	base := []string{"--no-defaults"}
	if os.Geteuid() == 0 {
		base = append(base, "--user=root") // it refuses root that was not asked for
	}
	data := filepath.Join(dir, "data")
	if err := createDatabase(ctx, data, base); err != nil {
		return nil, err
	}
	arguments := append(base, "--datadir="+data,
		"--socket="+filepath.Join(dir, "s"), fmt.Sprintf("--port=%d", o.Port), "--bind-address=127.0.0.1", "--skip-name-resolve",
		"--pid-file="+filepath.Join(dir, "pid"), "--log-error="+filepath.Join(dir, "server.log"), "--log-warnings=1",
		"--character-set-server=utf8mb4", "--collation-server=utf8mb4_general_ci",
		"--innodb-buffer-pool-size=64M", "--innodb-log-file-size=48M", "--max-connections=300", "--performance-schema=OFF",
	)
	if o.Init != "" {
		if err := writeFiles(dir, map[string]string{"init.sql": o.Init}); err != nil {
			return nil, err
		}
		arguments = append(arguments, "--init-file="+filepath.Join(dir, "init.sql"))
	}
	return &Plan{
		Name: "MariaDB", Dir: dir, Addr: fmt.Sprintf("127.0.0.1:%d", o.Port),
		URL: fmt.Sprintf("root@tcp(127.0.0.1:%d)/", o.Port), Ready: databaseReady,
		Commands: func() []*exec.Cmd {
			cmd := exec.Command(server, arguments...) //nolint:gosec // paths that we found
			cmd.Dir = dir
			return []*exec.Cmd{cmd}
		},
	}, nil
}

// createDatabase makes an empty database where there is none, whole or not at all.
func createDatabase(ctx context.Context, data string, arguments []string) error {
	if _, err := os.Stat(data); err == nil {
		return nil
	}
	installer, err := exec.LookPath("mariadb-install-db")
	if err != nil {
		return fmt.Errorf("mariadb-install-db is not installed")
	}
	half := data + ".new"
	if err := os.RemoveAll(half); err != nil {
		return err
	}
	create := exec.CommandContext(ctx, installer, append(arguments[:len(arguments):len(arguments)], //nolint:gosec // paths that we found
		"--datadir="+half, "--auth-root-authentication-method=normal", "--skip-test-db")...)
	if output, err := create.CombinedOutput(); err != nil {
		return errors.Join(fmt.Errorf("mariadb-install-db: %w\n%s", err, output), os.RemoveAll(half))
	}
	return os.Rename(half, data)
}

// StartMariaDB starts a database server in a new folder below dir. Its user is root, without a password.
func StartMariaDB(ctx context.Context, dir string) (*Instance, error) {
	own, release, err := reservePorts(1)
	if err != nil {
		return nil, err
	}
	folder := filepath.Join(dir, fmt.Sprintf("mariadb-%d", own[0]))
	plan, err := PlanMariaDB(ctx, folder, MariaDBOptions{Port: own[0]})
	if err != nil {
		release()
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	return start(ctx, plan, release)
}

// databaseReady reads the server's greeting: a packet header of four bytes, then the protocol version.
func databaseReady(ctx context.Context, addr string) error {
	answer, err := greeting(ctx, addr, nil, 5)
	if err == nil && answer[4] != 10 {
		err = fmt.Errorf("byte %d is no MySQL greeting", answer[4])
	}
	return err
}
