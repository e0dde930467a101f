//go:build linux

package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// lookWithin bounds each question of Look.
const lookWithin = 15 * time.Second

// View is a look at a running cluster: what its supervisor knows, and what its programs say.
type View struct {
	// Well: every member runs, every shard has a leader, the interceptors agree, and the audit holds.
	Well   bool    `json:"well"`
	State  State   `json:"cluster"`
	Shards []Shard `json:"shards"`
	Ring   Ring    `json:"ring"`
	Queue  *Queue  `json:"queue"` // nil: nobody could tell
	Audit  string  `json:"audit"` // the verdict: holds, not_settled, violated, unreachable
	// AuditError says why something was unreachable.
	AuditError string `json:"audit_error,omitempty"`
}

// Shard is one of the counter's.
type Shard struct {
	Name   string `json:"name"`
	Leader string `json:"leader"` // the voter's id; "": nobody leads
	Voters int    `json:"voters"`
	Away   int    `json:"away"` // voters that do not answer their leader
	Error  string `json:"error,omitempty"`
}

// Ring is how the interceptors share the users, as one of them sees it.
type Ring struct {
	By      string     `json:"by"` // who tells
	Agreed  bool       `json:"agreed"`
	Epoch   string     `json:"epoch"`
	Pending int        `json:"pending_partitions"`
	Members []RingPart `json:"members"`
	Error   string     `json:"error,omitempty"`
}

// RingPart is one interceptor's part.
type RingPart struct {
	Name  string  `json:"name"`
	State string  `json:"state"`
	Share float64 `json:"share"` // of the users
	// Differs says in what it differs from the one that tells.
	Differs []string `json:"differs"`
}

// Queue is what waits between the backends and the ledger.
type Queue struct {
	Ready   int `json:"ready"`
	Delayed int `json:"delayed"`
	Dead    int `json:"dead"`
}

// Look asks everybody, side by side.
func Look(ctx context.Context, st State) View {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	v := View{State: st}
	shards := st.shards()
	v.Shards = make([]Shard, len(shards))
	var asking sync.WaitGroup
	for i, name := range shards {
		asking.Go(func() { v.Shards[i] = lookAtShard(ctx, st, name) })
	}
	asking.Go(func() { v.Ring = lookAtRing(ctx, st) })
	asking.Go(func() { v.audit(ctx, st) })
	asking.Wait()
	v.Well = v.well()
	return v
}

// shards names the counter's shards.
func (s *State) shards() (names []string) {
	for _, m := range s.Members {
		if m.Kind != Counter {
			continue
		}
		if name := strings.Split(m.Name, "-")[1]; !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

func (v *View) well() bool {
	for _, m := range v.State.Members {
		if m.State != Running || m.Cut {
			return false
		}
	}
	for _, s := range v.Shards {
		if s.Leader == "" || s.Away > 0 {
			return false
		}
	}
	return v.Ring.Error == "" && v.Ring.Agreed && (v.Audit == "holds" || v.Audit == "not_settled")
}

// ask runs an operator's command that prints JSON.
func ask(ctx context.Context, st State, into any, args ...string) error {
	out, said, code, err := Operator(ctx, st, append(args, "--json")...)
	if err != nil {
		return err
	}
	if json.Unmarshal([]byte(out), into) != nil {
		return fmt.Errorf("exit code %d: %s", code, strings.TrimPrefix(strings.TrimSpace(said), "headgate: "))
	}
	return nil
}

func lookAtShard(ctx context.Context, st State, name string) Shard {
	s := Shard{Name: name}
	var voters []struct {
		ID        string `json:"id"`
		Leads     bool   `json:"leads"`
		Reachable bool   `json:"reachable"`
	}
	if err := ask(ctx, st, &voters, "counter", "voters", "--shard", name); err != nil {
		s.Error = err.Error()
		return s
	}
	s.Voters = len(voters)
	for _, each := range voters {
		if each.Leads {
			s.Leader = each.ID
		}
		if !each.Reachable {
			s.Away++
		}
	}
	return s
}

// lookAtRing asks the interceptors until one answers.
func lookAtRing(ctx context.Context, st State) Ring {
	errs := []error{errors.New("no interceptor runs")}
	for _, m := range st.Members {
		if m.Kind != Interceptor || m.State != Running || m.Cut {
			continue
		}
		var r Ring
		err := get(ctx, m.Admin+"/edge/ring", &r)
		if err == nil {
			r.By = m.Name
			return r
		}
		errs = append(errs[:0], err)
	}
	return Ring{Error: errors.Join(errs...).Error()}
}

func get(ctx context.Context, url string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, probeWithin)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %d", url, response.StatusCode)
	}
	return json.NewDecoder(io.LimitReader(response.Body, maxAnswerBytes)).Decode(into)
}

func (v *View) audit(ctx context.Context, st State) {
	var report struct {
		Verdict string `json:"verdict"`
		Error   string `json:"error"`
		Queue   *Queue `json:"queue"`
	}
	if err := ask(ctx, st, &report, "audit"); err != nil {
		v.Audit, v.AuditError = "unreachable", err.Error()
		return
	}
	v.Audit, v.AuditError, v.Queue = report.Verdict, report.Error, report.Queue
}

// Write writes the view for people.
func (v *View) Write(w io.Writer) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "MEMBER\tSTATE\tPID\tADDRESS\tVERSION\tCPU s\tRESTARTS\tNOTE")
	for _, m := range v.State.Members {
		state := m.State
		if m.Cut {
			state += ", cut off"
		}
		fmt.Fprintf(out, "%s\t%s\t%d\t%s\t%s\t%.1f\t%d\t%s\n", m.Name, state, m.PID, m.Address, m.Version, m.CPU, m.Restarts, m.Note)
	}
	if err := out.Flush(); err != nil {
		return err
	}
	out = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out)
	for _, s := range v.Shards {
		word := fmt.Sprintf("led by counter-%s-%s, %d voters, %d away", s.Name, strings.TrimPrefix(s.Leader, "c"), s.Voters, s.Away)
		if s.Leader == "" {
			word = "NOBODY LEADS " + s.Error
		}
		fmt.Fprintf(out, "shard %s\t%s\n", s.Name, word)
	}
	fmt.Fprintf(out, "ring\t%s\n", v.Ring.words())
	if q := v.Queue; q != nil {
		fmt.Fprintf(out, "queue\tready %d, delayed %d, dead %d\n", q.Ready, q.Delayed, q.Dead)
	} else {
		fmt.Fprintln(out, "queue\tunknown")
	}
	fmt.Fprintf(out, "audit\t%s %s\n", v.Audit, v.AuditError)
	return out.Flush()
}

func (r *Ring) words() string {
	if r.Error != "" {
		return "nobody tells: " + r.Error
	}
	var parts []string
	var differ []string
	for _, m := range r.Members {
		part := fmt.Sprintf("%s %.1f %%", m.Name, 100*m.Share)
		if m.State != "serving" {
			part = m.Name + " is " + m.State
		}
		if len(m.Differs) > 0 {
			differ = append(differ, m.Name+": "+strings.Join(m.Differs, ", "))
		}
		parts = append(parts, part)
	}
	text := strings.Join(parts, ", ")
	switch {
	case len(differ) > 0:
		text += "; as " + r.By + " sees it, " + strings.Join(differ, "; ")
	case !r.Agreed:
		text += "; they have not heard from each other yet"
	}
	return text
}
