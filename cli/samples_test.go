package cli

import (
	"bufio"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"headgate.example/counter"
	"headgate.example/lib/config"
)

const samples = "../deploy/config"

// setSampleEnv gives the samples what they take from the environment.
func setSampleEnv(t *testing.T) {
	t.Helper()
	file, err := os.Open(filepath.Join(samples, "example.env"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for scan := bufio.NewScanner(file); scan.Scan(); {
		if name, value, found := strings.Cut(scan.Text(), "="); found && !strings.HasPrefix(name, "#") {
			t.Setenv(name, strings.Trim(value, "'"))
		}
	}
}

func TestSamplesAreValid(t *testing.T) {
	setSampleEnv(t)
	var files []string
	for _, pattern := range []string{"*.yaml", "*/*.yaml"} {
		found, err := filepath.Glob(filepath.Join(samples, pattern))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	if len(files) < 8 {
		t.Errorf("only %d samples: %v", len(files), files)
	}
	for _, file := range files {
		if _, _, err := CheckConfig(file, ""); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// TestTwoShardsAgree holds the sample of two shards together: every program has the same list, and each
// shard's peers are the others of it.
func TestTwoShardsAgree(t *testing.T) {
	setSampleEnv(t)
	all := DefaultConfig()
	if err := config.Load(filepath.Join(samples, "shards", "headgate.yaml"), &all); err != nil {
		t.Fatal(err)
	}
	list := all.Backend.Counter.Shards
	if len(list) != 2 {
		t.Fatalf("the backend has %d shards", len(list))
	}
	if !reflect.DeepEqual(list, all.Interceptor.Counter.Shards) || !reflect.DeepEqual(list, all.Consumer.Counter.Shards) {
		t.Error("interceptor, backend and consumer list different shards")
	}
	for i, shard := range list {
		c := counter.DefaultConfig()
		if err := config.Load(filepath.Join(samples, "shards", "counter-"+shard.Name+".yaml"), &c); err != nil {
			t.Fatal(err)
		}
		if c.Shard.Name != shard.Name || c.Shard.Number != shard.Number {
			t.Errorf("shard %s calls itself %+v", shard.Name, c.Shard)
		}
		other := list[1-i]
		if want := []counter.PeerConfig{{Name: other.Name, Number: other.Number, Addresses: other.Addresses}}; !reflect.DeepEqual(c.Peers, want) {
			t.Errorf("the peers of %s are %+v, want %+v", shard.Name, c.Peers, want)
		}
		if c.Borrow.Wait >= all.Interceptor.Counter.Timeout {
			t.Errorf("a buyer of %s waits %s at the counter, and its edge only %s", shard.Name, c.Borrow.Wait, all.Interceptor.Counter.Timeout)
		}
	}
}
