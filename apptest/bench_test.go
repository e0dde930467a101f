//go:build bench

package apptest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"headgate.example/apptest/crowd"
	"headgate.example/apptest/programs"
)

const (
	benchPairs       = 7
	benchSpan        = 2 * time.Second
	benchConnections = 64
	benchUsers       = 20_000
)

// TestBenchEdge compares what a refusal costs at the edge with a bare fasthttp server, in one run:
// alternating pairs, medians. Client and servers share the machine's cores, so that the requests a
// second say little by themselves; CPU time per request is the servers' own.
func TestBenchEdge(t *testing.T) {
	dev := programs.NewDev(t, bin, nil)
	dev.Start()
	m := devMarket(t, dev)
	m.must(t, "sale", "create", "bench", "--title", "Bench", "--stock", "1", "--limit", "1", "--price", "100", "--open")
	buyers := m.buyers(t, benchUsers, "b")
	sellOut(t, m, buyers)

	address := programs.FreePorts(t, 1)[0]
	path := filepath.Join(t.TempDir(), "bareserver")
	programs.MustRun(t, "go", "build", "-o", path, "./cmd/bareserver")
	bare := programs.Start(t, programs.Spec{Name: "bareserver", Path: path, Args: []string{address}, Ready: "http://" + address + "/readyz"})

	url := "/api/sales/bench/orders"
	var edge, yard []sample
	measure(t, dev.Edge+url, buyers, dev.Process) // warm up
	for range benchPairs {
		edge = append(edge, measure(t, dev.Edge+url, buyers, dev.Process))
		yard = append(yard, measure(t, "http://"+address+url, buyers, bare))
	}
	edgeRate, bareRate := median(edge, perSecond), median(yard, perSecond)
	edgeCPU, bareCPU := median(edge, cpuMicros), median(yard, cpuMicros)
	fmt.Printf("edge_refusals_per_second: %.0f\n", edgeRate)
	fmt.Printf("bare_fasthttp_requests_per_second: %.0f\n", bareRate)
	fmt.Printf("edge_to_bare_rate_ratio: %.2f\n", edgeRate/bareRate)
	fmt.Printf("edge_cpu_microseconds_per_refusal: %.1f\n", edgeCPU)
	fmt.Printf("bare_cpu_microseconds_per_request: %.1f\n", bareCPU)
	fmt.Printf("edge_to_bare_cpu_ratio: %.2f\n", edgeCPU/bareCPU)
}

// sellOut buys the only unit and waits until the edge refuses by itself.
func sellOut(t *testing.T, m *market, buyers []crowd.Buyer) {
	t.Helper()
	_, err := crowd.Run(t.Context(), crowd.Plan{Base: m.edge, Sale: "bench", Rounds: 10}, buyers[:10])
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, 10*time.Second, "the sale is sold out for every newcomer", func() bool {
		report, err := crowd.Run(t.Context(), crowd.Plan{Base: m.edge, Sale: "bench"}, buyers[10:60])
		return err == nil && report.Counts()["409 sold_out"] >= 40
	})
}

type sample struct {
	requests int64
	span     time.Duration
	cpu      time.Duration
}

func perSecond(s sample) float64 { return float64(s.requests) / s.span.Seconds() }
func cpuMicros(s sample) float64 { return float64(s.cpu.Microseconds()) / float64(s.requests) }

func median(samples []sample, of func(sample) float64) float64 {
	values := make([]float64, len(samples))
	for i, s := range samples {
		values[i] = of(s)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func measure(t *testing.T, url string, buyers []crowd.Buyer, server *programs.Process) sample {
	t.Helper()
	host := strings.SplitN(strings.TrimPrefix(url, "http://"), "/", 2)[0]
	client := &fasthttp.HostClient{Addr: host, MaxConns: benchConnections, ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	var requests, wrong, next atomic.Int64
	before, started := cpuTime(t, server.PID()), time.Now()
	stop := started.Add(benchSpan)
	var workers sync.WaitGroup
	for range benchConnections {
		workers.Go(func() {
			request, response := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
			defer fasthttp.ReleaseRequest(request)
			defer fasthttp.ReleaseResponse(response)
			request.SetRequestURI(url)
			request.Header.SetMethod(fasthttp.MethodPost)
			request.Header.SetContentType("application/json")
			request.SetBodyString(`{"quantity":1}`)
			for time.Now().Before(stop) {
				buyer := int(next.Add(1)) % len(buyers)
				request.Header.Set("Authorization", "Bearer "+buyers[buyer].Token)
				err := client.Do(request, response)
				if status := response.StatusCode(); err != nil || status != fasthttp.StatusConflict && status != fasthttp.StatusTooManyRequests {
					wrong.Add(1)
				}
				requests.Add(1)
			}
		})
	}
	workers.Wait()
	s := sample{requests: requests.Load(), span: time.Since(started), cpu: cpuTime(t, server.PID()) - before}
	if wrong.Load() > 0 {
		t.Errorf("%d of %d requests to %s were not refused as they should", wrong.Load(), s.requests, url)
	}
	return s
}

// cpuTime is what a process has used, from /proc; a tick is 10 ms.
func cpuTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+2:]))
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}
