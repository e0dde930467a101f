//go:build unix

package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"headgate.example/apptest/measure"
)

//go:embed load.lua
var loadScript []byte

// threads of the load. Every server has to share the cores with it.
const threads = 2

// load is what is sent: the bytes of one request around a token, and the tokens.
type load struct {
	head, tail string
	tokens     func(run int) []string // of a run
	once       bool                   // no token is used twice
}

// press is an order as a browser's script sends it, on a sale or any other target.
func press(method, target, body string) load {
	text := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) edgebench\r\nAccept: application/json\r\n", method, target)
	if body != "" {
		text += "Content-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n"
	}
	return load{head: text + "Authorization: Bearer ", tail: "\r\n\r\n" + body}
}

// one gives the whole request with a token.
func (l *load) one(token string) string { return l.head + token + l.tail }

// result is one run.
type result struct {
	requests float64
	seconds  float64
	cpu      time.Duration
	allocs   float64 // for each request; only of ours
	wrong    error   // what was answered is not what the figure is about
}

func (r *result) rate() float64 { return r.requests / r.seconds }

// cpuPerMillion is in seconds.
func (r *result) cpuPerMillion() float64 { return r.cpu.Seconds() / r.requests * 1e6 }

// prepare writes what wrk needs for one run and gives its arguments.
func (l *load) prepare(b *bench, run int) ([]string, error) {
	args := make([]string, 0, 3+threads)
	write := func(name, text string) error {
		path := filepath.Join(b.dir, name)
		args = append(args, path)
		return os.WriteFile(path, []byte(text), 0o600)
	}
	if err := errors.Join(write("head", l.head), write("tail", l.tail)); err != nil {
		return nil, err
	}
	if l.once {
		args = append(args, "once")
	} else {
		args = append(args, "repeated")
	}
	var parts [threads]strings.Builder
	for i, token := range l.tokens(run) {
		parts[i%threads].WriteString(token)
		parts[i%threads].WriteByte('\n')
	}
	for i := range parts {
		if err := write(fmt.Sprintf("tokens%d", i), parts[i].String()); err != nil {
			return nil, err
		}
	}
	return args, nil
}

// send runs wrk against a target. The code is how each of our refusals must be counted, "" where
// requests succeed.
func (t *target) send(ctx context.Context, b *bench, args []string, span time.Duration, code string) (r result, err error) {
	script := filepath.Join(b.dir, "load.lua")
	if err := os.WriteFile(script, loadScript, 0o600); err != nil {
		return r, err
	}
	coded, mallocs := 0.0, 0.0
	if t.admin != nil {
		if coded, err = t.metrics(ctx, "headgate_interceptor_requests_total", `code="`+code+`"`); err != nil {
			return r, err
		}
		if mallocs, err = t.metrics(ctx, "go_memstats_mallocs_total", ""); err != nil {
			return r, err
		}
	}
	used, err := t.cpu()
	if err != nil {
		return r, err
	}
	ctx, cancel := context.WithTimeout(ctx, span+time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "wrk", append([]string{"-t", strconv.Itoa(threads), "-c", strconv.Itoa(b.connections),
		"-d", strconv.Itoa(int(span.Seconds())) + "s", "-s", script, "http://" + t.address + "/", "--"}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return r, fmt.Errorf("wrk: %w: %s", err, bytes.TrimSpace(out[max(0, len(out)-1024):]))
	}
	now, err := t.cpu()
	if err != nil {
		return r, err
	}
	r.cpu = now - used
	var refused, failed float64
	if r.requests, r.seconds, refused, failed, err = readSummary(out); err != nil {
		return r, err
	}
	switch {
	case r.requests < 1000 || failed > 0:
		return r, fmt.Errorf("%s: %.0f answers, %.0f failures: %s", t.name, r.requests, failed, out)
	case t.refuses && refused < 0.99*r.requests, !t.refuses && refused > 0:
		r.wrong = fmt.Errorf("%s: %.0f of %.0f answers are refusals", t.name, refused, r.requests)
	}
	if t.admin == nil {
		return r, nil
	}
	return r, t.checkAnswers(ctx, &r, code, coded, mallocs)
}

// checkAnswers makes sure that what was answered is what the figure is about.
func (t *target) checkAnswers(ctx context.Context, r *result, code string, coded, mallocs float64) error {
	after, err := t.metrics(ctx, "headgate_interceptor_requests_total", `code="`+code+`"`)
	if err != nil {
		return err
	}
	if after-coded < 0.99*r.requests {
		r.wrong = fmt.Errorf("%s: of %.0f requests only %.0f were answered %s", t.name, r.requests, after-coded, code)
	}
	after, err = t.metrics(ctx, "go_memstats_mallocs_total", "")
	r.allocs = (after - mallocs) / r.requests
	return err
}

// readSummary reads the line that the script prints.
func readSummary(out []byte) (requests, seconds, refused, failed float64, err error) {
	_, line, found := bytes.Cut(out, []byte("SUMMARY "))
	var micros float64
	if found {
		_, err = fmt.Sscanf(string(line), "%f %f %f %f", &requests, &micros, &refused, &failed)
	}
	if !found || err != nil || micros <= 0 {
		return 0, 0, 0, 0, errors.Join(fmt.Errorf("wrk printed something else than expected: %s", out), err)
	}
	return requests, micros / 1e6, refused, failed, nil
}

// contest measures several targets with the same load. The first is the yardstick.
type contest struct {
	load    load
	code    string // of our answers
	targets []*target
	results [][]result // by target
}

// hold runs the rounds. Each target goes first in some of them.
func (c *contest) hold(ctx context.Context, b *bench) error {
	c.results = make([][]result, len(c.targets))
	for run := range b.rounds + 1 { // the first is to warm up
		args, err := c.load.prepare(b, run)
		if err != nil {
			return err
		}
		for turn := range c.targets {
			i := (turn + run) % len(c.targets)
			r, err := c.targets[i].send(ctx, b, args, b.run, c.code)
			if err == nil && run > 0 { // what comes first may be admitted
				err = r.wrong
			}
			if err != nil {
				return err
			}
			if run > 0 {
				c.results[i] = append(c.results[i], r)
			}
		}
	}
	return nil
}

// ratios are those of target a to target b, a round each.
func (c *contest) ratios(a, b int, of func(*result) float64) []float64 {
	list := make([]float64, len(c.results[a]))
	for i := range list {
		list[i] = of(&c.results[a][i]) / of(&c.results[b][i])
	}
	return list
}

func (c *contest) median(target int, of func(*result) float64) float64 {
	list := make([]float64, len(c.results[target]))
	for i := range list {
		list[i] = of(&c.results[target][i])
	}
	return measure.Median(list)
}

// tellCPU prints the ratio of CPU time of target 1 to the yardstick or another target.
func (c *contest) tellCPU(b *bench, name string, against int) {
	ratios := c.ratios(1, against, (*result).cpuPerMillion)
	b.figure(name, "%.2f (%d rounds, %.2f to %.2f; CPU seconds per million: %s %.2f, %s %.2f)", measure.Median(ratios), len(ratios),
		slices.Min(ratios), slices.Max(ratios), c.targets[1].name, c.median(1, (*result).cpuPerMillion),
		c.targets[against].name, c.median(against, (*result).cpuPerMillion))
}

// tellRate prints the ratio of requests a second of target 1 to the yardstick.
func (c *contest) tellRate(b *bench, name string) {
	ratios := c.ratios(1, 0, (*result).rate)
	b.figure(name, "%.2f (%.2f to %.2f; %s %.0f/s, %s %.0f/s, on cores shared with the generator)", measure.Median(ratios),
		slices.Min(ratios), slices.Max(ratios), c.targets[1].name, c.median(1, (*result).rate), c.targets[0].name, c.median(0, (*result).rate))
}
