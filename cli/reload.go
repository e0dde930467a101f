package cli

import (
	"strings"

	"headgate.example/interceptor"
	"headgate.example/lib/config"
	"headgate.example/lib/service"
)

var _ service.Reloadable[Config] = (*Dev)(nil)

const edgeSection = "interceptor."

// CheckReload reports what cannot be changed while the process runs: everything but the edge's section,
// and of that what the edge says.
func (d *Dev) CheckReload(next *Config, p *config.Problems) {
	for _, path := range config.Changed(d.config.Load(), next) {
		if !strings.HasPrefix(path, edgeSection) {
			p.Addf(path, service.NotWhileRunning)
		}
	}
	edge, _ := d.edge()
	edge.CheckReload(&next.Interceptor, p.In(strings.TrimSuffix(edgeSection, ".")))
}

// Reload hands the edge's section to the edge.
func (d *Dev) Reload(next Config) error {
	edge, rt := d.edge()
	if err := edge.Reload(next.Interceptor); err != nil {
		return err
	}
	rt.ShowConfig(&next.Interceptor)
	d.config.Store(&next)
	return nil
}

// edge gives the running edge. It is asked after OpenDev.
func (d *Dev) edge() (service.Reloadable[interceptor.Config], *service.Runtime) {
	for _, r := range d.stack.layers {
		if edge, ok := r.program.(service.Reloadable[interceptor.Config]); ok {
			return edge, r.rt
		}
	}
	panic("cli: no layer of the process is an edge")
}
