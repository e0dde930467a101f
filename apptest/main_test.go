package apptest

import (
	"context"
	"fmt"
	"os"
	"testing"

	"headgate.example/apptest/programs"
)

// bin is set by TestMain before any test runs.
var bin programs.Binaries

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	folder, err := os.MkdirTemp("", "headgate-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(folder) //nolint:errcheck // a temporary folder
	if bin, err = programs.FindBinaries(context.Background(), folder); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}
