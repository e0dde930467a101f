package programs

import (
	"path/filepath"
)

// Edge is an interceptor of a Fleet besides its first, which owns all its users.
type Edge struct {
	*Process
	URL   string // http://host:port
	Admin string // host:port

	fleet *Fleet
	name  string
}

// AddEdge starts a further interceptor, configured as the first one but for its name and addresses. It
// knows of no other node.
func (f *Fleet) AddEdge(name string) *Edge {
	f.t.Helper()
	ports := FreePorts(f.t, 2)
	c := ReadConfig(f.t, filepath.Join(f.folder, "interceptor.yaml"))
	c.Set("listen", ports[0])
	c.Set("self", name)
	c.Set("peers", []any{map[string]any{"name": name, "address": ports[0]}})
	c.Set("service.admin", ports[1])
	file := "interceptor-" + name
	c.Write(filepath.Join(f.folder, file+".yaml"))
	f.ports[file] = ports[1]
	e := &Edge{URL: "http://" + ports[0], Admin: ports[1], fleet: f, name: file}
	e.Start()
	return e
}

// FirstEdge is the interceptor that the Fleet began with.
func (f *Fleet) FirstEdge() *Edge {
	return &Edge{Process: f.Interceptor, URL: f.Edge, Admin: f.ports["interceptor"], fleet: f, name: "interceptor"}
}

// Start starts the interceptor again after it was killed, and waits until it is ready.
func (e *Edge) Start() {
	e.fleet.t.Helper()
	e.Process = e.fleet.start(e.name)
	if e.name == "interceptor" {
		e.fleet.Interceptor = e.Process
	}
}
