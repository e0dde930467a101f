package preflight

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"headgate.example/lib/service"
)

// maxAnswerBytes bounds what is read of one answer.
const maxAnswerBytes = 1 << 20

// program is one layer behind an admin port.
type program struct {
	service.Status
	admin string
}

func (p *program) name() string { return p.Program + " " + p.admin }

// lookAtPrograms asks every admin port: are all kinds there, ready and well?
func (p *preflight) lookAtPrograms(ctx context.Context) []Line {
	type answer struct {
		list []service.Status
		clk  clock
		err  error
	}
	answers := make([]answer, len(p.Admins))
	var group sync.WaitGroup
	for i, admin := range p.Admins {
		group.Go(func() {
			a := &answers[i]
			began := p.Now()
			a.err = p.ask(ctx, admin, "/status", &a.list)
			ended := p.Now()
			if a.err == nil && len(a.list) > 0 {
				a.clk = exchanged(a.list[0].Program+" "+admin, a.list[0].Time, began, ended, time.Duration(a.list[0].Took)*time.Microsecond)
			}
		})
	}
	group.Wait()
	var lines []Line
	for i, admin := range p.Admins {
		a := &answers[i]
		if a.err != nil {
			lines = append(lines, fail("program "+admin, "start it, or take it out of `admins` in the operator's config", "%v", a.err))
			continue
		}
		if len(a.list) > 0 {
			p.saw(a.clk)
		}
		for _, s := range a.list {
			p.programs = append(p.programs, program{s, admin})
		}
	}
	kinds := map[string]bool{}
	for i := range p.programs {
		if s := &p.programs[i]; s.Program != "headgate" { // the one process has a line for each of its layers
			kinds[s.Program] = true
			lines = append(lines, wellness(s))
		}
	}
	for _, kind := range []string{"interceptor", "backend", "consumer"} {
		if !kinds[kind] {
			lines = append(lines, fail(kind, "name the admin ports of all programs under `admins` in the operator's config, or with --admin", "none answers among %d admin ports", len(p.Admins)))
		}
	}
	return lines
}

// wellness is the line of one program.
func wellness(s *program) Line {
	required, degraded := []string{}, []string{}
	for _, probe := range s.Probes {
		switch {
		case probe.Problem == "":
		case probe.Required:
			required = append(required, probe.Name+": "+probe.Problem)
		default:
			degraded = append(degraded, probe.Name+": "+probe.Problem)
		}
	}
	look := "http://" + s.admin + "/readyz?verbose and its log say more"
	switch {
	case s.Draining:
		return fail(s.name(), "start it again, or take it out of the config", "it is stopping")
	case !s.Started:
		return fail(s.name(), look, "it is still starting; %s", s.Waiting)
	case !s.Ready:
		return fail(s.name(), look, "not ready: %s", strings.Join(required, "; "))
	case s.ConfigRefused != "":
		return fail(s.name(), "mend its config file, or bring the former one back", "its config file was changed and is not taken: %s", s.ConfigRefused)
	case len(degraded) > 0:
		return warn(s.name(), look, "ready, degraded: %s", strings.Join(degraded, "; "))
	}
	return ok(s.name(), "ready, version %s, config %s", s.Version, s.ConfigHash)
}

// compareConfigs: edges must be configured alike, or users are treated differently from node to node; backends
// and consumers should be. Secrets take no part in the hashes: the way through the edge tries those out.
func (p *preflight) compareConfigs() []Line {
	var lines []Line
	for _, kind := range []string{"interceptor", "backend", "consumer"} {
		nodes := map[string][]string{} // by hash
		for i := range p.programs {
			if s := &p.programs[i]; s.Program == kind {
				nodes[s.ConfigHash] = append(nodes[s.ConfigHash], s.admin)
			}
		}
		do := "compare http://ADMIN/config of them, and give all the same file but for names and addresses"
		switch {
		case len(nodes) == 0:
		case len(nodes) == 1:
			lines = append(lines, ok("config "+kind, "equal on %d: %s", len(firstOf(nodes)), slices.Collect(maps.Keys(nodes))[0]))
		case kind == "interceptor":
			lines = append(lines, fail("config "+kind, do, "the edges differ: %s", grouped(nodes)))
		default:
			lines = append(lines, warn("config "+kind, do, "they differ: %s", grouped(nodes)))
		}
	}
	versions := map[string][]string{}
	for i := range p.programs {
		versions[p.programs[i].Version] = append(versions[p.programs[i].Version], p.programs[i].name())
	}
	if len(versions) > 1 {
		lines = append(lines, warn("version", "finish the update before the sale opens", "several run: %s", grouped(versions)))
	}
	return lines
}

func firstOf(groups map[string][]string) []string {
	for _, members := range groups {
		return members
	}
	return nil
}

// grouped is "a: x, y; b: z", the smallest group first: it is the odd one.
func grouped(groups map[string][]string) string {
	keys := slices.SortedFunc(maps.Keys(groups), func(a, b string) int {
		if n := len(groups[a]) - len(groups[b]); n != 0 {
			return n
		}
		return strings.Compare(a, b)
	})
	parts := make([]string, len(keys))
	for i, key := range keys {
		parts[i] = key + ": " + strings.Join(groups[key], ", ")
	}
	return strings.Join(parts, "; ")
}

// ask reads JSON from an admin port.
func (p *preflight) ask(ctx context.Context, admin, page string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+page, nil)
	if err != nil {
		return fmt.Errorf("%q is no address", admin)
	}
	response, err := p.http.Do(request)
	if err != nil {
		if inner := errors.Unwrap(err); inner != nil {
			err = inner // without the method and address, which the line has
		}
		return fmt.Errorf("it does not answer: %w", err)
	}
	defer response.Body.Close() //nolint:errcheck // only read
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	if err != nil {
		return fmt.Errorf("it does not answer: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("it answers %s with %d: this is no admin port of a program of this version", page, response.StatusCode)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return errors.New("its answer cannot be read: this is no admin port of a program of this version")
	}
	return nil
}
