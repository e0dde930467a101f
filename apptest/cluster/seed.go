//go:build linux

package cluster

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
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
	env, err := readEnv(st.EnvFile)
	if err != nil {
		return "", "", 0, err
	}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, filepath.Join(st.Bin, "headgate"), append(args, "--config", st.OperatorConfig)...) //nolint:gosec // ours
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = nil
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode(), err
}

// Seed gives a new cluster its demo accounts and sales, once.
func Seed(ctx context.Context, f Folder, st State) error {
	if _, err := os.Stat(f.join(seededName)); err == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, seedWithin)
	defer cancel()
	var text strings.Builder
	text.WriteString("# The demo accounts of this cluster: name, password. They exist in its ledger only.\n")
	for _, name := range []string{"alice", "bob"} {
		password := strings.ToLower(rand.Text()[:12])
		if err := register(ctx, st.Edge, name, password); err != nil {
			return fmt.Errorf("making the account %s: %w", name, err)
		}
		fmt.Fprintf(&text, "%-6s %s\n", name, password)
	}
	if err := writePrivate(f.Accounts(), text.String()); err != nil {
		return err
	}
	for _, sale := range [][]string{
		{"1", "--title", "Enamel kettle", "--description", "A thousand of them, one for each person, on sale now.", "--stock", "1000", "--price", "19900"},
		{"2", "--title", "Field lantern", "--description", "Comes on sale in three parts, five minutes apart.", "--stock", "300", "--price", "29900",
			"--opens", "10m", "--release", "10m:100", "--release", "15m:100", "--release", "20m:100"},
	} {
		_, said, code, err := Operator(ctx, st, append(append([]string{"sale", "create"}, sale...), "--limit", "1", "--open")...)
		if err == nil && code != 0 {
			err = errors.New(strings.TrimSpace(said))
		}
		if err != nil {
			return fmt.Errorf("making sale %s: %w", sale[0], err)
		}
	}
	return os.WriteFile(f.join(seededName), []byte("Demo accounts and sales were made.\n"), 0o600)
}

func register(ctx context.Context, edge, name, password string) error {
	body, err := json.Marshal(map[string]string{"name": name, "password": password})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, edge+"/api/register", bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode/100 != 2 {
		text, _ := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
		return fmt.Errorf("%d %s", response.StatusCode, text)
	}
	return nil
}
