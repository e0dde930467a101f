//go:build linux

package cluster

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// seededName says that accounts and sales were made.
const seededName = "seeded"

const seedWithin = 30 * time.Second

// Operator runs `headgate ARGS...` on a cluster, and gives what it printed and its exit code. The error is
// for a command that could not be run.
func Operator(ctx context.Context, st State, args ...string) (stdout, stderr string, code int, err error) {
	return operatorReading(ctx, st, "", args...)
}

// operatorReading gives the command something to read, too.
func operatorReading(ctx context.Context, st State, input string, args ...string) (stdout, stderr string, code int, err error) {
	env, err := readEnv(st.EnvFile)
	if err != nil {
		return "", "", 0, err
	}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, filepath.Join(st.Bin, "headgate"), append(args, "--config", st.OperatorConfig)...) //nolint:gosec // ours
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &errs
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = nil
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode(), err
}

// operate is Operator for who needs it to succeed.
func operate(ctx context.Context, st State, input string, args ...string) error {
	_, said, code, err := operatorReading(ctx, st, input, args...)
	if err == nil && code != 0 {
		err = errors.New(strings.TrimSpace(said))
	}
	return err
}

// Seed gives a new cluster its demo accounts and sales, once.
func Seed(ctx context.Context, f Folder, st State) error {
	if _, err := os.Stat(f.join(seededName)); err == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, seedWithin)
	defer cancel()
	if err := seedAccounts(ctx, f, st); err != nil {
		return err
	}
	for _, sale := range [][]string{
		{"1", "--title", "Enamel kettle", "--description", "A thousand of them, one for each person, on sale now.", "--stock", "1000", "--price", "19900"},
		{"2", "--title", "Field lantern", "--description", "Comes on sale in three parts, five minutes apart.", "--stock", "300", "--price", "29900",
			"--opens", "10m", "--release", "10m:100", "--release", "15m:100", "--release", "20m:100"},
	} {
		if err := operate(ctx, st, "", append(append([]string{"sale", "create"}, sale...), "--limit", "1", "--open")...); err != nil {
			return fmt.Errorf("making sale %s: %w", sale[0], err)
		}
	}
	return os.WriteFile(f.join(seededName), []byte("Demo accounts and sales were made.\n"), 0o600)
}

// seedAccounts makes two buyers and an operator, and writes their passwords down. An account that an interrupted
// run made before gets the new password.
func seedAccounts(ctx context.Context, f Folder, st State) error {
	var text strings.Builder
	text.WriteString("# The demo accounts of this cluster: name, password. They exist in its ledger only.\n")
	for _, account := range [][]string{{"alice"}, {"bob"}, {"admin", "--role", "admin"}} {
		name, password := account[0], strings.ToLower(rand.Text()[:12])
		err := operate(ctx, st, password, append([]string{"account", "create"}, account...)...)
		if err != nil && operate(ctx, st, password, "account", "password", name) != nil {
			return fmt.Errorf("making the account %s: %w", name, err)
		}
		fmt.Fprintf(&text, "%-6s %s\n", name, password)
	}
	return writePrivate(f.Accounts(), text.String())
}
