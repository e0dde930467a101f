//go:build unix

package main

import (
	"context"
	"fmt"
	"net"
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
func (t *target) metrics(ctx context.Context, name, label string) (sum float64, err error) {
	for _, address := range t.admin {
		page, err := measure.ReadMetrics(ctx, address)
		if err != nil {
			return 0, err
		}
		value, err := page.Sum(name, label)
		if err != nil {
			return 0, fmt.Errorf("%s of %s: %w", name, address, err)
		}
		sum += value
	}
	return sum, nil
}
