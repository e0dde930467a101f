package programs

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

// Dev is `headgate dev`: all layers in one process, on a data folder and ports of its own.
type Dev struct {
	*Process // the running process; a later Start replaces it

	t          testing.TB
	bin        Binaries
	Data       string // the data folder
	ConfigFile string
	Edge       string // http://host:port of the edge
	Admin      string // http://host:port of the admin server
	RESP       string // host:port of the counter
}

// NewDev makes a data folder with a config on free ports, changed by edit unless that is nil. It does
// not start the program yet.
func NewDev(t testing.TB, bin Binaries, edit func(*Config)) *Dev {
	t.Helper()
	d := &Dev{t: t, bin: bin, Data: filepath.Join(t.TempDir(), "data")}
	d.ConfigFile = filepath.Join(d.Data, "headgate.yaml")
	MustRun(t, bin.Path("headgate"), "init", "--data", d.Data)
	c := ReadConfig(t, d.ConfigFile)
	ports := FreePorts(t, 5)
	for i, byDefault := range []string{"127.0.0.1:8080", "127.0.0.1:8180", "127.0.0.1:7380", "127.0.0.1:7381", "127.0.0.1:8090"} {
		c.Replace(byDefault, ports[i])
	}
	d.Edge, d.Admin, d.RESP = "http://"+ports[0], "http://"+ports[1], ports[2]
	if edit != nil {
		edit(c)
	}
	c.Write(d.ConfigFile)
	return d
}

// Start starts the program on its folder and waits until it is ready. The config's environment may be
// given as NAME=value.
func (d *Dev) Start(env ...string) {
	d.t.Helper()
	d.Process = Start(d.t, Spec{
		Name: "headgate", Path: d.bin.Path("headgate"), Args: []string{"dev", "--data", d.Data}, Env: env,
		Ready: d.Admin + "/readyz",
	})
}

// CLI runs `headgate ARGS... --config FILE`.
func (d *Dev) CLI(args ...string) Result {
	d.t.Helper()
	return Run(d.t, d.bin.Path("headgate"), append(args, "--config", d.ConfigFile)...)
}

// MustCLI is CLI for a command that has to succeed; it gives what it printed.
func (d *Dev) MustCLI(args ...string) string {
	d.t.Helper()
	return MustRun(d.t, d.bin.Path("headgate"), append(args, "--config", d.ConfigFile)...)
}

// DecodeJSON reads what a command printed with --json.
func DecodeJSON(t testing.TB, text string, into any) {
	t.Helper()
	if err := json.NewDecoder(strings.NewReader(text)).Decode(into); err != nil {
		t.Fatalf("%v in %.500q", err, text)
	}
}
