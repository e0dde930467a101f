package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestNewFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), `odd "name", with: #everything`)
	f, err := OpenFolder(path)
	if err != nil {
		t.Fatal(err)
	}
	if !f.New || !f.seeding() {
		t.Errorf("new %v, seeding %v", f.New, f.seeding())
	}
	for _, name := range []string{ConfigName, accountsName} {
		if stat, err := os.Stat(filepath.Join(path, name)); err != nil || stat.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, stat, err)
		}
	}
	cfg, err := LoadConfig(f.ConfigFile())
	if err != nil {
		t.Fatal(err)
	}
	if got := cfg.Backend.Database.Path; got != filepath.Join(path, "ledger.db") {
		t.Errorf("the ledger is at %s", got)
	}
	if cfg.Interceptor.TicketKeys[0].Secret != cfg.Consumer.TicketKeys[0].Secret || cfg.Counter.ClientPassword == cfg.Counter.OperatorPassword {
		t.Error("the layers' secrets do not fit each other")
	}
	accounts, err := f.Accounts()
	if err != nil || len(accounts) != 3 || accounts[0].Name != "alice" || len(accounts[0].Password) < 12 || !slices.Equal(accounts[2].Roles, []string{"admin"}) || accounts[1].Roles != nil {
		t.Errorf("accounts %+v, %v", accounts, err)
	}

	again, err := OpenFolder(path)
	if err != nil || again.New {
		t.Errorf("again: %+v, %v", again, err)
	}
	if err := f.seeded(); err != nil || again.seeding() {
		t.Errorf("seeded: %v", err)
	}
}

func TestFoldersDiffer(t *testing.T) {
	var secrets []string
	for range 2 {
		f, err := OpenFolder(filepath.Join(t.TempDir(), "data"))
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := LoadConfig(f.ConfigFile())
		if err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, cfg.Tokens().Keys[0].Secret.Reveal())
	}
	if secrets[0] == secrets[1] {
		t.Error("two folders have the same secret")
	}
}

func TestAnInterruptedFirstRunIsTakenUpAgain(t *testing.T) {
	path := t.TempDir()
	if err := os.WriteFile(filepath.Join(path, seedingName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if f, err := OpenFolder(path); err != nil || !f.New {
		t.Errorf("%+v, %v", f, err)
	}
}

func TestForeignFoldersAreLeftAlone(t *testing.T) {
	path := t.TempDir()
	if err := os.WriteFile(filepath.Join(path, "thesis.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFolder(path); err == nil || !strings.Contains(err.Error(), "thesis.txt") || !strings.Contains(err.Error(), "--data") {
		t.Errorf("a folder with other files: %v", err)
	}
	if _, err := OpenFolder(filepath.Join(path, "thesis.txt")); err == nil || !strings.Contains(err.Error(), "data: ") {
		t.Errorf("a file: %v", err)
	}
}

func TestOneProcessInAFolder(t *testing.T) {
	path := t.TempDir()
	unlock, err := lockFolder(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockFolder(path); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a second process: %v", err)
	}
	unlock()
	unlock, err = lockFolder(path)
	if err != nil {
		t.Errorf("after the first has ended: %v", err)
	}
	unlock()
}
