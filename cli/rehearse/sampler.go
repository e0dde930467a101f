package rehearse

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// sampleEvery lies between two looks at the admin ports. What a program counts after the last look before
// it is killed is lost.
const (
	sampleEvery  = time.Second
	maxMetrics   = 4 << 20
	stageMetric  = "headgate_interceptor_stage_refusals_total{"
	cpuMetric    = "process_cpu_seconds_total"
	sampleWithin = 2 * time.Second
)

// sampler adds up what programs count on their admin ports, over their restarts.
type sampler struct {
	client *http.Client
	admins []string // http://host:port

	mu     sync.Mutex
	last   map[string]float64 // by port and metric
	sums   map[string]float64 // by metric: what was added since the first look
	looked map[string]bool
}

func newSampler(admins []string) *sampler {
	return &sampler{
		client: &http.Client{Timeout: sampleWithin}, admins: admins,
		last: map[string]float64{}, sums: map[string]float64{}, looked: map[string]bool{},
	}
}

// run looks every second until ctx ends.
func (s *sampler) run(ctx context.Context) {
	defer s.client.CloseIdleConnections()
	ticker := time.NewTicker(sampleEvery)
	defer ticker.Stop()
	for {
		s.look(ctx)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*sampleWithin)
			defer cancel()
			s.look(last)
			return
		}
	}
}

func (s *sampler) look(ctx context.Context) {
	var all sync.WaitGroup
	for _, admin := range s.admins {
		all.Go(func() {
			values, err := s.fetch(ctx, admin)
			if err != nil {
				return // it is broken at the moment, or not reachable from here
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			first := !s.looked[admin]
			s.looked[admin] = true
			for name, value := range values {
				key := admin + " " + name
				before, known := s.last[key]
				switch {
				case first && !known: // counted before the rehearsal
				case !known || value < before: // it started again
					s.sums[name] += value
				default:
					s.sums[name] += value - before
				}
				s.last[key] = value
			}
		})
	}
	all.Wait()
}

func (s *sampler) fetch(ctx context.Context, admin string) (map[string]float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, admin+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	response, err := s.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close() //nolint:errcheck // only read
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", response.StatusCode)
	}
	return readMetrics(io.LimitReader(response.Body, maxMetrics))
}

// readMetrics picks the lines that a rehearsal reports.
func readMetrics(r io.Reader) (map[string]float64, error) {
	values := map[string]float64{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if !strings.HasPrefix(line, stageMetric) && !strings.HasPrefix(line, cpuMetric+" ") {
			continue
		}
		i := strings.LastIndexByte(line, ' ')
		value, err := strconv.ParseFloat(line[i+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("metric %.200q: %w", line, err)
		}
		values[line[:i]] = value
	}
	return values, lines.Err()
}

// stages are the refusals by stage of the chain; those that stages in shadow would have made are marked.
func (s *sampler) stages() []Count {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := map[string]int{}
	for name, sum := range s.sums {
		labels, found := strings.CutPrefix(name, stageMetric)
		if !found || sum < 1 {
			continue
		}
		stage := label(labels, "stage")
		if mode := label(labels, "mode"); mode != "enforce" {
			stage += " (" + mode + ")"
		}
		of[stage] += int(sum)
	}
	return counts(of)
}

// cpu is the CPU time that the programs behind the admin ports took, in seconds.
func (s *sampler) cpu() (seconds float64, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seconds, known = s.sums[cpuMetric]
	return seconds, known
}

// label gives a label's value in name="value",...}; values here hold no quotes.
func label(labels, name string) string {
	_, rest, found := strings.Cut(labels, name+`="`)
	if !found {
		return ""
	}
	value, _, _ := strings.Cut(rest, `"`)
	return value
}
