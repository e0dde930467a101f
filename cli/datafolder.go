package cli

import (
	"crypto/rand"
	_ "embed" // the config's text
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"headgate.example/backend"
	"headgate.example/lib/config"
)

//go:embed headgate.yaml.tmpl
var configText string

// The files of a data folder besides those of the layers.
const (
	accountsName = "accounts.txt"
	seedingName  = "seeding" // stands until the ledger has been seeded
	lockName     = "lock"
)

// Account is one of the demo accounts.
type Account struct {
	Name, Password string
	Roles          []string
}

// demoAccounts lists the accounts that a new data folder gets, without passwords.
func demoAccounts() []Account {
	return []Account{{Name: "alice"}, {Name: "bob"}, {Name: "admin", Roles: []string{backend.RoleAdmin}}}
}

// Folder is a data folder: config, accounts, and what the layers keep.
type Folder struct {
	Path string // absolute
	New  bool   // it was made by this call
}

// ConfigFile is the folder's config.
func (f *Folder) ConfigFile() string { return filepath.Join(f.Path, ConfigName) }

// OpenFolder opens a data folder, or makes one where there is none or an empty one: a config with
// secrets of its own, and passwords for the demo accounts. An interrupted first run is taken up again.
func OpenFolder(path string) (*Folder, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	f := &Folder{Path: abs}
	if err := os.MkdirAll(abs, 0o700); err != nil {
		return nil, fmt.Errorf("data: %w: choose another folder with --data, or make this one possible", err)
	}
	entries, err := os.ReadDir(abs)
	if err != nil {
		return nil, fmt.Errorf("data: %w: make the folder readable for this user, or choose another with --data", err)
	}
	var foreign []string
	for _, e := range entries {
		switch e.Name() {
		case ConfigName:
			return f, nil
		case accountsName, seedingName, lockName:
		default:
			foreign = append(foreign, e.Name())
		}
	}
	if len(foreign) > 0 {
		return nil, fmt.Errorf("data: %s has no %s but other files (%s): choose an empty folder with --data", abs, ConfigName, foreign[0])
	}
	f.New = true
	return f, f.make()
}

// make writes the config last: until it is there, the folder counts as empty.
func (f *Folder) make() error {
	text, err := renderConfig(f.Path)
	if err != nil {
		return err
	}
	var accounts strings.Builder
	accounts.WriteString("# The demo accounts of this data folder: name, password. They exist in its ledger only.\n")
	for _, a := range demoAccounts() {
		fmt.Fprintf(&accounts, "%-6s %s\n", a.Name, newPassword())
	}
	for _, file := range []struct{ name, text string }{
		{seedingName, "The ledger is still to be seeded.\n"}, {accountsName, accounts.String()}, {ConfigName, text},
	} {
		if err := writePrivate(filepath.Join(f.Path, file.name), file.text); err != nil {
			return fmt.Errorf("data: %w: make the folder writable for this user, or choose another with --data", err)
		}
	}
	return nil
}

func renderConfig(folder string) (string, error) {
	var text strings.Builder
	err := template.Must(template.New(ConfigName).Parse(configText)).Execute(&text, map[string]string{
		"Queue": quoted(folder, "queue.db"), "Ledger": quoted(folder, "ledger.db"), "Counter": quoted(folder, "counter"),
		"TokenSecret": NewSecret(), "TicketSecret": NewSecret(), "HopSecret": NewSecret(), "PaymentSecret": NewSecret(),
		"ClientPassword": NewSecret(), "OperatorPassword": NewSecret(),
	})
	if err != nil {
		return "", fmt.Errorf("writing the config: %w", err)
	}
	cfg := DefaultConfig()
	if err := config.Parse(ConfigName, []byte(text.String()), &cfg); err != nil {
		return "", fmt.Errorf("the config that was to be written is wrong: %w", err)
	}
	return text.String(), nil
}

// quoted is a path as YAML writes text with any characters.
func quoted(folder, name string) string {
	text, err := json.Marshal(filepath.Join(folder, name))
	if err != nil {
		panic(err) // text always encodes
	}
	return string(text)
}

// newPassword has 60 bits of randomness.
func newPassword() string { return strings.ToLower(rand.Text()[:12]) }

// writePrivate writes a file that its owner alone may read, whole or not at all.
func writePrivate(path, text string) error {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		_ = os.Remove(file.Name())
	}
	return err
}

// Accounts reads the demo accounts; none when the file is gone.
func (f *Folder) Accounts() ([]Account, error) {
	text, err := os.ReadFile(filepath.Join(f.Path, accountsName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	var accounts []Account
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) != 2 || strings.HasPrefix(line, "#") {
			continue
		}
		a := Account{Name: fields[0], Password: fields[1]}
		if i := slices.IndexFunc(demoAccounts(), func(d Account) bool { return d.Name == a.Name }); i >= 0 {
			a.Roles = demoAccounts()[i].Roles
		}
		accounts = append(accounts, a)
	}
	return accounts, nil
}

// seeding reports whether the ledger is still to be seeded.
func (f *Folder) seeding() bool {
	_, err := os.Stat(filepath.Join(f.Path, seedingName))
	return err == nil
}

func (f *Folder) seeded() error {
	if err := os.Remove(filepath.Join(f.Path, seedingName)); err != nil {
		return fmt.Errorf("data: %w", err)
	}
	return nil
}
