//go:build unix

package services

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"
)

const installWithin = 15 * time.Minute

// The packages of each service, as Debian 12 names them.
func packages(name string) []string {
	return map[string][]string{
		RabbitMQ: {"rabbitmq-server"},
		MariaDB:  {"mariadb-server"},
		Redis:    {"redis-server", "redis-tools"},
		Nginx:    {"nginx-light"},
		Chromium: {"chromium"},
		Wrk:      {"wrk"},
		Nftables: {"nftables"},
		Promtool: {"prometheus"},
		JMeter:   {"jmeter", "jmeter-http", "default-jdk-headless"}, // the kit: deploy/jmeter has a source file to run
	}[name]
}

// install gets the packages of absent programs, on Debian and as root. What fails is reported here, and
// again when the program is looked for.
func install(ctx context.Context, wanted []string, out io.Writer) {
	var absent []string
	for _, name := range wanted {
		if _, err := lookUp(name); err != nil {
			absent = append(absent, name)
		}
	}
	if len(absent) == 0 {
		return
	}
	say := func(format string, args ...any) { fmt.Fprintf(out, "services: "+format+"\n", args...) } //nolint:errcheck // progress
	apt, err := exec.LookPath("apt-get")
	if err != nil {
		say("!!! cannot install %v: there is no apt-get", absent)
		return
	}
	if os.Geteuid() != 0 {
		say("!!! cannot install %v: only root may (sudo apt-get install)", absent)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, installWithin)
	defer cancel()
	if err := withoutDaemons(policyFile, func() error { return installAll(ctx, apt, absent, say) }); err != nil {
		say("!!! installing %v: %v", absent, err)
	}
}

// installAll installs each service's packages by themselves, so that one that fails does not take the
// others along.
func installAll(ctx context.Context, apt string, absent []string, say func(string, ...any)) error {
	say("installing %v ...", absent)
	if err := run(ctx, apt, "update", "-q"); err != nil {
		say("!!! apt-get update failed, trying with what is known: %v", err)
	}
	var errs []error
	for _, name := range absent {
		arguments := append([]string{"install", "-y", "-q", "--no-install-recommends"}, packages(name)...)
		if err := run(ctx, apt, arguments...); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

func run(ctx context.Context, apt string, arguments ...string) error {
	cmd := exec.CommandContext(ctx, apt, slices.Concat([]string{"-o", "DPkg::Lock::Timeout=300"}, arguments)...) //nolint:gosec // a path that we found
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // let dpkg finish its step
	cmd.WaitDelay = time.Minute
	output, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, bytes.TrimSpace(output[max(0, len(output)-1000):]))
	}
	return nil
}

// policyFile tells installation scripts whether they may start daemons; 101 forbids it.
const policyFile = "/usr/sbin/policy-rc.d"

// withoutDaemons runs work while the policy file forbids starting daemons, and puts back what was
// there. A lock keeps two of us apart.
func withoutDaemons(policy string, work func() error) (err error) {
	lock, err := os.OpenFile(policy+".headgate-lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()           //nolint:errcheck // nothing was written
	defer os.Remove(lock.Name()) //nolint:errcheck // another may have removed it
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("locking %s: %w", lock.Name(), err)
	}
	saved := policy + ".headgate-saved"
	switch err := os.Rename(policy, saved); {
	case err == nil:
		defer func() { err = errors.Join(err, os.Rename(saved, policy)) }()
	case errors.Is(err, os.ErrNotExist):
		if _, err := os.Lstat(saved); err == nil { // left by one of us that was killed
			defer func() { err = errors.Join(err, os.Rename(saved, policy)) }()
		} else {
			defer func() { err = errors.Join(err, os.Remove(policy)) }()
		}
	default:
		return err
	}
	if err := os.WriteFile(policy, []byte("#!/bin/sh\nexit 101\n"), 0o755); err != nil { //nolint:gosec // must be executable
		return err
	}
	return work()
}
