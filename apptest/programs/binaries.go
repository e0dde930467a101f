package programs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"headgate.example/lib/service/servicetest"
)

// BinEnv names the folder of the programs. `make test` sets it to the programs that it just built.
const BinEnv = servicetest.BinEnv

// Names lists the programs.
var names = []string{"interceptor", "counter", "backend", "consumer", "headgate", "cluster"}

// Binaries is the folder that holds the programs.
type Binaries string

// Path is one program's file.
func (b Binaries) Path(program string) string { return filepath.Join(string(b), program) }

// FindBinaries gives the folder that BinEnv names, or builds the programs into the folder given. A
// test binary calls it once, from TestMain.
func FindBinaries(ctx context.Context, buildInto string) (Binaries, error) {
	if bin := os.Getenv(BinEnv); bin != "" {
		for _, name := range names {
			if _, err := os.Stat(filepath.Join(bin, name)); err != nil {
				return "", fmt.Errorf("%s: %w (run make build)", BinEnv, err)
			}
		}
		return Binaries(bin), nil
	}
	root, err := Root()
	if err != nil {
		return "", err
	}
	for _, name := range names {
		source := "./" + name + "/cmd/" + name
		switch name {
		case "headgate":
			source = "./cli/cmd/headgate"
		case "cluster":
			source = "./apptest/cmd/cluster"
		}
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-o", filepath.Join(buildInto, name), source)
		cmd.Dir = root
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("building %s: %w\n%s", name, err, bytes.TrimSpace(out))
		}
	}
	return Binaries(buildInto), nil
}

// Root is the folder of the workspace.
func Root() (string, error) {
	out, err := exec.Command("go", "env", "GOWORK").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOWORK: %w", err)
	}
	work := strings.TrimSpace(string(out))
	if work == "" || work == "off" {
		return "", fmt.Errorf("the tests of whole programs need the workspace: GOWORK is %q", work)
	}
	return filepath.Dir(work), nil
}
