package apptest

import (
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"
)

// Any Redis client will do: this is go-redis, pipelining, against three voters.
func TestGoRedis(t *testing.T) {
	shard := startShard(t)
	if err := shard.OpenSale(deadline(t, patience), "redis", 10, 1); err != nil {
		t.Fatal(err)
	}
	leader, err := shard.Leader(deadline(t, patience))
	if err != nil {
		t.Fatal(err)
	}
	for _, options := range []redis.Options{
		{Addr: leader.Client}, // asks for RESP3, and takes RESP2
		{Addr: leader.Client, Protocol: 2, DisableIdentity: true},
	} {
		client := redis.NewClient(&options)
		t.Cleanup(func() { client.Close() })
		ctx := deadline(t, patience)
		if pong, err := client.Ping(ctx).Result(); err != nil || pong != "PONG" {
			t.Fatalf("protocol %d: %q, %v", options.Protocol, pong, err)
		}
		var replies []*redis.Cmd
		pipeline := client.Pipeline()
		for i := range 12 {
			replies = append(replies, pipeline.Do(ctx, "RESERVE", "redis", fmt.Sprintf("u%d", i), 1, "k"))
		}
		if _, err := pipeline.Exec(ctx); err != nil {
			t.Fatal(err)
		}
		want := "reserved"
		if options.Protocol == 2 {
			want = "already" // the first one bought it all
		}
		for i, reply := range replies {
			words, err := reply.Slice()
			if i >= 10 {
				want = "sold_out"
			}
			if err != nil || len(words) == 0 || words[0] != want {
				t.Errorf("user %d: %v, %v, want %s", i, words, err, want)
			}
		}
		info, err := client.Do(ctx, "SALE.INFO", "redis").Slice()
		if err != nil || len(info) < 10 {
			t.Errorf("SALE.INFO: %v, %v", info, err)
		}
	}
	follower := shard.Voters[0]
	if follower == leader {
		follower = shard.Voters[1]
	}
	client := redis.NewClient(&redis.Options{Addr: follower.Client})
	defer client.Close()
	if err := client.Do(deadline(t, patience), "SALE.LIST").Err(); err == nil || err.Error() != "MOVED 0 "+leader.Client {
		t.Errorf("a follower says %v, want MOVED to %s", err, leader.Client)
	}
}
