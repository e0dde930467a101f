package cli

import (
	"fmt"
	"path/filepath"
	"reflect"
	"testing"

	"headgate.example/backend"
	"headgate.example/consumer"
	"headgate.example/counter"
	"headgate.example/interceptor"
	"headgate.example/lib/config"
)

// TestLocalClusterAgrees holds the files of the cluster on one machine together: every program has the same
// list of shards, the interceptors' hashes are equal, and the counters are each others' voters and peers.
func TestLocalClusterAgrees(t *testing.T) {
	setExampleEnv(t)
	load := func(name string, into config.Validator) {
		t.Helper()
		if err := config.Load(filepath.Join("..", "deploy", "local", name+".yaml"), into); err != nil {
			t.Fatal(err)
		}
	}
	all := DefaultConfig()
	load("headgate", &all)
	shards := all.Backend.Counter.Shards
	if len(shards) != 2 || !reflect.DeepEqual(shards, all.Interceptor.Counter.Shards) || !reflect.DeepEqual(shards, all.Consumer.Counter.Shards) {
		t.Errorf("headgate.yaml has %+v", shards)
	}
	hashes := make(map[string]bool)
	for i := range 3 {
		c := interceptor.DefaultConfig()
		load(fmt.Sprintf("interceptor-%d", i+1), &c)
		hashes[config.Hash(&c)] = true
		if !reflect.DeepEqual(c.Counter.Shards, shards) || c.Self != c.Peers[i].Name || c.Listen != c.Peers[i].Address {
			t.Errorf("interceptor-%d: %+v, %+v", i+1, c.Counter.Shards, c.Peers)
		}
	}
	if len(hashes) != 1 {
		t.Errorf("three interceptors have %d config hashes", len(hashes))
	}
	for i := range 2 {
		b, c := backend.DefaultConfig(), consumer.DefaultConfig()
		load(fmt.Sprintf("backend-%d", i+1), &b)
		load(fmt.Sprintf("consumer-%d", i+1), &c)
		if !reflect.DeepEqual(b.Counter.Shards, shards) || !reflect.DeepEqual(c.Counter.Shards, shards) || all.Interceptor.Upstreams[0].Addresses[i] != b.Listen {
			t.Errorf("backend-%[1]d or consumer-%[1]d differs from headgate.yaml", i+1)
		}
	}
	for number, shard := range shards {
		for i, address := range shard.Addresses {
			c := counter.DefaultConfig()
			load(fmt.Sprintf("counter-%s-%d", shard.Name, i+1), &c)
			other := shards[1-number]
			if c.Listen != address || c.Voters[i].Client != address || c.Voters[i].Raft != c.RaftListen || c.Voters[i].ID != c.VoterID || c.Shard.Number != shard.Number ||
				!reflect.DeepEqual(c.Peers, []counter.PeerConfig{{Name: other.Name, Number: other.Number, Addresses: other.Addresses}}) {
				t.Errorf("voter %d of %s: %+v, peers %+v", i+1, shard.Name, c.Voters, c.Peers)
			}
		}
	}
}
