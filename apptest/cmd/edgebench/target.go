//go:build unix

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"headgate.example/apptest/measure"
)

// startWithin bounds the wait for a program to answer.
const startWithin = 30 * time.Second

// target is a server under measurement: the processes whose CPU time counts, and where requests go.
type target struct {
	name      string
	address   string
	processes []*measure.Process
	admin     []string // host:port of each process's admin server; none: not one of ours
	refuses   bool     // its answers are refusals
}

func (t *target) stop() {
	for _, p := range t.processes {
		p.Kill()
	}
}

// await waits until the target takes connections.
func (t *target) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	err := t.processes[0].Await(ctx, func() error {
		conn, err := net.DialTimeout("tcp", t.address, time.Second)
		if err != nil {
			return err
		}
		return conn.Close()
	})
	if err != nil {
		t.stop()
	}
	return err
}

func (t *target) cpu() (time.Duration, error) {
	var sum time.Duration
	for _, p := range t.processes {
		used, err := p.CPU()
		if err != nil {
			return 0, err
		}
		sum += used
	}
	return sum, nil
}

// metrics sums the values of the metrics with a name and a part of the labels, over all processes.
func (t *target) metrics(ctx context.Context, name, label string) (float64, error) {
	sum := 0.0
	for _, address := range t.admin {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
		if err != nil {
			return 0, err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return 0, err
		}
		value, err := sumLines(bufio.NewScanner(response.Body), name, label)
		response.Body.Close()
		if err != nil {
			return 0, fmt.Errorf("%s of %s: %w", name, address, err)
		}
		sum += value
	}
	return sum, nil
}

func sumLines(lines *bufio.Scanner, name, label string) (sum float64, err error) {
	for lines.Scan() {
		rest, ok := strings.CutPrefix(lines.Text(), name)
		if !ok || rest == "" || rest[0] != '{' && rest[0] != ' ' {
			continue
		}
		space := strings.LastIndexByte(rest, ' ')
		if !strings.Contains(rest[:space], label) {
			continue
		}
		value, wrong := strconv.ParseFloat(rest[space+1:], 64)
		sum, err = sum+value, errors.Join(err, wrong)
	}
	return sum, errors.Join(err, lines.Err())
}
