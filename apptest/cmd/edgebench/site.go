//go:build unix

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"headgate.example/apptest/measure"
	"headgate.example/apptest/signer"
	"headgate.example/apptest/voters"
)

// site is a counter and an interceptor, or several, before an upstream.
type site struct {
	counter *voters.Shard
	edge    *target // all interceptors; requests go to the first
}

// edgeConfig is what is set otherwise than by default: the interval is so long that nobody's press is
// admitted twice in a measurement. Who presses on is counted as by default, but not banned: it is the 429
// that is measured.
const edgeConfig = `service: {mode: development, admin: %[2]q, log_format: json}
listen: %[1]q
self: %[7]s
peers: %[8]s
tokens: {keys: [{id: %[3]s, algorithm: HS256, secret: %[4]s}]}
ticket_keys: [{id: t1, secret: ticket-secret-for-measurements}]
hop_keys: [{id: h1, secret: hop-secret-for-measurements}]
counter: {shards: [{name: s1, number: 0, addresses: [%[5]q]}]}
upstreams: [{name: backend, addresses: [%[6]q]}]
limits: {user_interval: {every: 10m}}
strikes: {too_soon: {mode: shadow}}
`

// startSite starts a counter and so many interceptors.
func startSite(ctx context.Context, b *bench, upstream string, edges int) (_ *site, err error) {
	s := &site{}
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	dir := filepath.Join(b.dir, "counter")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	if s.counter, err = voters.New(b.counter, dir, 1); err != nil {
		return nil, err
	}
	if err := s.counter.Start(ctx); err != nil {
		return nil, err
	}
	s.edge = &target{name: "edge", refuses: true}
	addresses := make([]string, edges)
	var peers []string
	for i := range addresses {
		if addresses[i], err = measure.FreeAddress(); err != nil {
			return nil, err
		}
		peers = append(peers, fmt.Sprintf("{name: edge-%d, address: %q}", i+1, addresses[i]))
	}
	s.edge.address = addresses[0]
	for i, address := range addresses {
		if err := s.launch(ctx, b, fmt.Sprintf("edge-%d", i+1), address, upstream, "["+strings.Join(peers, ", ")+"]"); err != nil {
			return nil, err
		}
	}
	return s, s.edge.await(ctx)
}

// launch starts one interceptor.
func (s *site) launch(ctx context.Context, b *bench, name, address, upstream, peers string) error {
	admin, err := measure.FreeAddress()
	if err != nil {
		return err
	}
	file := filepath.Join(b.dir, name+".yaml")
	text := fmt.Appendf(nil, edgeConfig, address, admin, signer.Key, signer.Secret, s.counter.Voters[0].Client, upstream, name, peers)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return err
	}
	p, err := measure.Launch(ctx, name, b.dir, b.interceptor, "--config", file)
	if err != nil {
		return err
	}
	s.edge.processes, s.edge.admin = append(s.edge.processes, p), append(s.edge.admin, admin)
	return nil
}

func (s *site) stop() {
	if s.edge != nil {
		s.edge.stop()
	}
	if s.counter != nil {
		s.counter.Close()
	}
}

// open opens a sale and waits until the edge answers a press of the load with a code. The sale begins after
// the edge: of older ones an edge does not know whose orders were taken, and asks the counter once for each
// user.
func (s *site) open(ctx context.Context, sale string, stock, limit int, press, code string) error {
	terms := fmt.Sprintf(`{"id":%q,"revision":1,"stock":%d,"limit":%d,"opens_at":%d,"hold_for_ms":600000,"retain_for_ms":86400000,"shards":["s1"],"ring":{"partitions":271,"replicas":100,"load":1.05}}`,
		sale, stock, limit, time.Now().UnixMilli())
	if _, err := s.counter.Do(ctx, "SALE.OPEN", terms); err != nil {
		return err
	}
	if _, err := s.counter.Do(ctx, "SALE.RESUME", sale, "2"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	return s.edge.processes[0].Await(ctx, func() error {
		answer, err := s.edge.ask(press)
		if err != nil {
			return err
		}
		if !strings.Contains(answer, "Headgate-Code: "+code+"\r\n") {
			return fmt.Errorf("a press is answered with %q instead of %s", answer, code)
		}
		return nil
	})
}

// ask sends one request and gives the beginning of the answer.
func (t *target) ask(request string) (string, error) {
	conn, err := net.DialTimeout("tcp", t.address, time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, request); err != nil {
		return "", err
	}
	answer := make([]byte, 4096)
	n, err := conn.Read(answer)
	return string(answer[:n]), err
}
