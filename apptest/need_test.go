package apptest

import (
	"os"
	"os/exec"
	"testing"
)

// need gives a service's address from the environment that apptest/cmd/services sets. Without it the
// test is skipped with a line that is counted at the end of `make test`; with CI=true it fails.
func need(t testing.TB, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		missing(t, name+" is not set (apptest/cmd/services sets it)")
	}
	return value
}

// needProgram is need for a program that is looked up in the PATH.
func needProgram(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		missing(t, program+" is not installed")
	}
	return path
}

func missing(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("SKIP-SERVICE: %s: not allowed with CI=true", why)
	}
	t.Skipf("SKIP-SERVICE: %s", why)
}
