package service

import (
	"encoding/json"
	"net/http"
	"time"
)

// Status is what the admin port's /status tells of one layer, for tools such as `headgate preflight`.
type Status struct {
	Program    string `json:"program"`
	Version    string `json:"version"`
	ConfigHash string `json:"config_hash"`
	// ConfigRefused says why the config file is not what the layer runs with; empty: it is.
	ConfigRefused string        `json:"config_refused,omitempty"`
	Ready         bool          `json:"ready"`
	Started       bool          `json:"started"`
	Waiting       string        `json:"waiting,omitempty"` // what the start waits for
	Draining      bool          `json:"draining"`
	Probes        []ProbeStatus `json:"probes"`
	// Time is this machine's wall clock when the answer was written, milliseconds since 1970, and Took how
	// long the probes took before: what is left of the exchange was spent on the way.
	Time int64 `json:"time_ms"`
	Took int64 `json:"took_us"`
}

// ProbeStatus is what one probe said.
type ProbeStatus struct {
	Name     string `json:"name"`
	Required bool   `json:"required"`
	Problem  string `json:"problem,omitempty"` // empty: it works
}

// serveStatus answers with a list, an entry for each layer of the process.
func (a *Admin) serveStatus(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	list := make([]Status, len(a.runtimes))
	for i, rt := range a.runtimes {
		report := rt.Health.Check(r.Context())
		s := Status{Program: rt.Name, Version: Version(), ConfigHash: rt.ConfigHash(), Ready: report.Ready(), Started: report.Started, Draining: report.Draining,
			Probes: make([]ProbeStatus, len(report.Results))}
		if report.Waiting != nil {
			s.Waiting = report.Waiting.Error()
		}
		if err := rt.configRefusal(); err != nil {
			s.ConfigRefused = err.Error()
		}
		for j, result := range report.Results {
			s.Probes[j] = ProbeStatus{Name: result.Name, Required: result.Level == Required}
			if result.Err != nil {
				s.Probes[j].Problem = result.Err.Error()
			}
		}
		list[i] = s
	}
	now := time.Now()
	for i := range list {
		list[i].Time, list[i].Took = now.UnixMilli(), now.Sub(began).Microseconds()
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(list) // the caller is gone when this fails
}
