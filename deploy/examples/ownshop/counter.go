package main

import (
	"context"
	"log"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// counter speaks to the counter's shards, as any Redis client can. (In Go, Headgate's own
// counter/client does this and more.)
type counter struct {
	password string
	mu       sync.Mutex
	shards   []string // where each shard's leader was last seen, by shard number
	clients  map[string]*redis.Client
}

// tell gives the counter's word on an order, or "" when there is none now.
func (c *counter) tell(ctx context.Context, id string, args ...any) string {
	number, _ := strconv.ParseInt(id, 10, 64)
	shard := int(number >> 12 & 1023) // an order's id holds its shard's number
	for range 3 {
		reply, err := c.at(shard).Do(ctx, args...).Result()
		if codes, ok := reply.([]any); ok && len(codes) == 1 { // CONFIRM answers for each of its orders
			reply = codes[0]
		}
		if word, ok := reply.(string); ok && err == nil {
			return word
		}
		leader, moved := strings.CutPrefix(errorText(err), "MOVED 0 ") // another voter leads
		if !moved {
			log.Printf("%v: %v %v", args, reply, err)
			return ""
		}
		c.mu.Lock()
		c.shards[shard] = leader
		c.mu.Unlock()
	}
	return ""
}

func (c *counter) at(shard int) *redis.Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	address := c.shards[shard%len(c.shards)]
	if c.clients[address] == nil {
		c.clients[address] = redis.NewClient(&redis.Options{Addr: address, Password: c.password, Protocol: 2, DisableIdentity: true,
			DialTimeout: time.Second, ReadTimeout: 2 * time.Second, MaxRetries: -1, ContextTimeoutEnabled: true})
	}
	return c.clients[address]
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
