package programs

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"time"
)

// Extra is a further program beside those of a Fleet, perhaps broken: it is not waited for.
type Extra struct {
	*Process
	Listen string // host:port that its config names; "" for a consumer
	Admin  string // host:port
	Config string // its file
}

// Launch starts a further program of a kind (counter, backend, consumer, interceptor), configured as the Fleet's own,
// with addresses and a data folder of its own and what edit changes. binary is its file; "": the Fleet's. It may be called
// by parallel subtests.
func (f *Fleet) Launch(kind, binary string, edit func(*Config), env ...string) *Extra {
	f.t.Helper()
	source := kind
	if kind == "counter" {
		source = counterName(0)
	}
	ports := FreePorts(f.t, 2)
	c := ReadConfig(f.t, filepath.Join(f.folder, source+".yaml"))
	name := fmt.Sprintf("%s-extra-%d", kind, f.extras.Add(1))
	e := &Extra{Admin: ports[1], Config: filepath.Join(f.folder, name+".yaml")}
	c.Set("service.admin", e.Admin)
	switch kind {
	case "counter":
		c.Set("data_dir", filepath.Join(f.folder, name))
	case "interceptor":
		c.Set("self", name)
		c.Set("peers", []any{map[string]any{"name": name, "address": ports[0]}})
	}
	if kind != "consumer" {
		e.Listen = ports[0]
		c.Set("listen", e.Listen)
	}
	if edit != nil {
		edit(c)
	}
	c.Write(e.Config)
	if binary == "" {
		binary = f.bin.Path(kind)
	}
	e.Process = Launch(f.t, Spec{Name: name, Path: binary, Args: []string{"--config", e.Config}, Env: append(f.env[:len(f.env):len(f.env)], env...),
		Ready: "http://" + e.Admin + "/readyz"})
	return e
}

// Page reads a page of the program's admin port; "" while it does not answer.
func (e *Extra) Page(path string) string {
	client := http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	response, err := client.Get("http://" + e.Admin + path)
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<20)) // what was read so far says enough
	return string(text)
}
