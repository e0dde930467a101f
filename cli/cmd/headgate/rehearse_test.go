package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Wrong use of `rehearse` ends with 3: 1 and 2 are verdicts.
func TestRehearseRefusesWrongUse(t *testing.T) {
	env := func(string) string { return "" }
	for _, c := range []struct{ args, want string }{
		{"--buyers none", "buyers"},
		{"--nonsense", "nonsense"},
		{"extra", "extra"},
		{"--buyers 0", "buyers: must be 1 to"},
		{"--rate 0", "rate"},
		{"--pay 0.9 --cancel 0.2", "pay: must be"},
		{"--faults flood", "flood"},
		{"--faults all", "--cluster"},
		{"--start", "--cluster"},
		{"--cluster " + filepath.Join(t.TempDir(), "none"), "does not answer"},
	} {
		var out, errs bytes.Buffer
		code := run(append([]string{"rehearse"}, strings.Fields(c.args)...), nil, &out, &errs, env)
		if code != exitUnreachable || !strings.Contains(errs.String(), c.want) {
			t.Errorf("rehearse %s: exit code %d, %s", c.args, code, errs.String())
		}
	}
}

func TestClusterSecretsAreRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cluster.env")
	for name, want := range map[string]string{"HEADGATE_TEST_REHEARSE_A": "a=b c", "HEADGATE_TEST_REHEARSE_B": "b"} {
		t.Setenv(name, "")
		if err := os.WriteFile(file, []byte("# secrets\n\nHEADGATE_TEST_REHEARSE_A=a=b c\nexport HEADGATE_TEST_REHEARSE_B='b'\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := loadEnv(file); err != nil || os.Getenv(name) != want {
			t.Errorf("%s is %q, %v", name, os.Getenv(name), err)
		}
	}
	if err := os.WriteFile(file, []byte("nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := loadEnv(file); err == nil || !strings.Contains(err.Error(), ":1: want KEY=value") || strings.Contains(err.Error(), "nonsense") {
		t.Errorf("%v", err)
	}
}
