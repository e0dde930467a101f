//go:build unix

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"headgate.example/apptest/measure"
)

// script is the classic one. A sold out sale costs it one GET.
const script = `
local stock = tonumber(redis.call('GET', KEYS[1]))
if not stock or stock <= 0 then return 0 end
if redis.call('SISMEMBER', KEYS[2], ARGV[1]) == 1 then return 2 end
redis.call('DECR', KEYS[1])
redis.call('SADD', KEYS[2], ARGV[1])
return 1`

// rival is one of the two that are compared.
type rival interface {
	// open makes a sale of so many units in which each user may have one.
	open(sale string, stock int) error
	// settle waits until it does nothing beside its clients' requests.
	settle(ctx context.Context) error
	// request is the command by which a random user wants one unit.
	request(sale string) []string
	// sold counts the units that are gone; those whose user came twice are not.
	sold(sale string) (int64, error)
	// drop forgets a sale, as far as it can be.
	drop(sale string) error
	address() string
	// CPU is the processor time that all its processes have used.
	CPU() (time.Duration, error)
	stop()
}

// randomUser is replaced by redis-benchmark with twelve digits, anew for each request.
const randomUser = "u__rand_int__"

type redis struct {
	*server
	sha string
}

// startRedis starts a Redis, durable or not. It never rewrites its log, which spares it work.
func startRedis(ctx context.Context, dir string, durable bool) (*redis, error) {
	free, err := measure.FreeAddresses(1)
	if err != nil {
		return nil, err
	}
	addr := free[0]
	appendOnly := "no"
	if durable {
		appendOnly = "yes"
	}
	s, err := launch(ctx, "redis", addr, dir, "redis-server", "--bind", "127.0.0.1", "--port", portOf(addr), "--dir", dir, "--save", "",
		"--appendonly", appendOnly, "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0")
	if err != nil {
		return nil, err
	}
	r := &redis{server: s}
	if err = s.await(ctx, "PONG", "PING"); err == nil {
		r.sha, err = s.ask("SCRIPT", "LOAD", script)
	}
	if err != nil {
		s.Kill()
		return nil, err
	}
	return r, nil
}

func (r *redis) open(sale string, stock int) error { return r.must("SET", sale, strconv.Itoa(stock)) }

func (r *redis) request(sale string) []string {
	return []string{"EVALSHA", r.sha, "2", sale, "users:" + sale, randomUser}
}

func (r *redis) sold(sale string) (int64, error) { return r.count("SCARD", "users:"+sale) }

func (r *redis) drop(sale string) error { return r.must("UNLINK", sale, "users:"+sale) }

func (r *redis) settle(ctx context.Context) error {
	return r.await(ctx, "lazyfree_pending_objects:0\r", "INFO", "memory")
}

func (r *redis) address() string { return r.addr }

func (r *redis) stop() { r.Kill() }

type counter struct {
	*server
	file string
	dir  string
	path string // of the program
	live string // address of the admin port
}

// startCounter starts a lone voter with the defaults that it is shipped with.
func startCounter(ctx context.Context, path, dir string) (*counter, error) {
	free, err := measure.FreeAddresses(2)
	if err != nil {
		return nil, err
	}
	addr, admin := free[0], free[1]
	c := &counter{file: filepath.Join(dir, "counter.yaml"), dir: dir, path: path, live: admin}
	text := fmt.Sprintf("service: {admin: %q, log_format: text}\nlisten: %q\nraft_listen: \"\"\ndata_dir: %q\nshard: {name: s1, number: 0}\nbootstrap: true\n",
		admin, addr, filepath.Join(dir, "counter"))
	if err := os.WriteFile(c.file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return c, c.start(ctx, addr)
}

func (c *counter) start(ctx context.Context, addr string) (err error) {
	if c.server, err = launch(ctx, "counter", addr, c.dir, c.path, "--config", c.file); err != nil {
		return err
	}
	if err = c.await(ctx, "raft_serving:1", "INFO", "raft"); err != nil {
		c.Kill()
	}
	return err
}

func (c *counter) open(sale string, stock int) error {
	terms, err := terms(sale, stock, "s1")
	if err != nil {
		return err
	}
	if err := c.must("SALE.OPEN", terms); err != nil {
		return err
	}
	return c.must("SALE.RESUME", sale, "2")
}

// terms are what SALE.OPEN takes, of a sale in which each user may have one unit.
func terms(sale string, stock int, shards ...string) (string, error) {
	text, err := json.Marshal(map[string]any{
		"id": sale, "revision": 1, "stock": stock, "limit": 1, "opens_at": 1, "hold_for_ms": 600_000, "retain_for_ms": 86_400_000,
		"shards": shards, "ring": map[string]any{"partitions": 271, "replicas": 100, "load": 1.05},
	})
	return string(text), err
}

func (c *counter) request(sale string) []string {
	return []string{"RESERVE", sale, randomUser, "1", ""}
}

func (c *counter) sold(sale string) (int64, error) {
	reply, err := c.ask("SALE.INFO", sale)
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(reply)
	for i, f := range fields {
		if f == "held" && i+1 < len(fields) {
			return strconv.ParseInt(fields[i+1], 10, 64)
		}
	}
	return 0, fmt.Errorf("SALE.INFO names no held units: %s", reply)
}

func (c *counter) settle(ctx context.Context) error {
	return c.await(ctx, "memory_ready:1", "INFO", "headgate")
}

// drop leaves the sale where it is: a counter keeps every order.
func (c *counter) drop(string) error { return nil }

func (c *counter) address() string { return c.addr }

func (c *counter) stop() { c.Kill() }
