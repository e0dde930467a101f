package interceptor

import (
	"strings"
	"testing"
	"time"

	"headgate.example/lib/config"
)

const keysYAML = `
tokens: {keys: [{id: t, algorithm: HS256, secret: 0123456789abcdef0123456789abcdef}]}
ticket_keys: [{id: k, secret: 0123456789abcdef}]
hop_keys: [{id: h, secret: 0123456789abcdef}]
`

func TestDefaultsNeedKeysOnly(t *testing.T) {
	c := DefaultConfig()
	err := config.Check(&c)
	if err == nil {
		t.Fatal("a config without keys is valid")
	}
	for line := range strings.Lines(err.Error()) {
		if !strings.HasPrefix(line, "tokens.keys:") && !strings.HasPrefix(line, "ticket_keys:") && !strings.HasPrefix(line, "hop_keys:") {
			t.Errorf("the defaults are wrong: %s", line)
		}
	}
	c = DefaultConfig()
	if err := config.Parse("x.yaml", []byte(keysYAML), &c); err != nil {
		t.Error(err)
	}
	if len(c.Routes) != len(DefaultRoutes()) {
		t.Error("the default routes are gone")
	}
}

func TestPartialUpstreamGetsDefaults(t *testing.T) {
	c := DefaultConfig()
	if err := config.Parse("x.yaml", []byte(keysYAML+"upstreams: [{name: backend, addresses: ['10.0.0.1:80'], timeout: 3s}]\n"), &c); err != nil {
		t.Fatal(err)
	}
	if u := c.Upstreams[0]; u.Timeout != 3*time.Second || u.MaxConnections == 0 || u.MaxWait == 0 {
		t.Errorf("%+v", u)
	}
}

func TestWrongConfigsNameFieldAndLine(t *testing.T) {
	for text, want := range map[string]string{
		"listne: x":    "listne: unknown key",
		"listen: 8080": "listen: must be host:port",
		"self: other":  `self: "other" is not the name of one of the peers`,
		"peers: [{name: edge-1, address: 'a:1'}, {name: edge-1, address: 'b:1'}]":                                                       `peers[1].name: "edge-1" is the name of an earlier peer`,
		"peers: [{name: edge-1, address: 'a:1'}, {name: edge-2, address: 'a:1'}]":                                                       `peers[1].address: is that of "edge-1" as well`,
		"peers: [{name: edge-1, address: 'a:1'}, {name: E_2, address: 'b:1'}]":                                                          "peers[1].name: must be 1 to 40 of a-z",
		"sharding: {owner_away: maybe}":                                                                                                 "sharding.owner_away: must be local or refuse",
		"user_hash_secret: short":                                                                                                       "user_hash_secret: must be at least 16 bytes",
		"upstreams: [{name: backend, addresses: [nowhere]}]":                                                                            "upstreams[0].addresses[0]: must be host:port",
		"upstreams: [{name: other, addresses: ['a:1']}]":                                                                                `routes[0].upstream: "backend" is not the name`,
		"upstreams: [{name: backend, addresses: ['a:1'], timeout: 1s, max_wait: 2s}]":                                                   "upstreams[0].max_wait: must be at most timeout (1s)",
		"upstreams: [{name: backend, addresses: ['a:1'], idle_timeout: 90s}]":                                                           "upstreams[0].idle_timeout: must be 100ms to 1m20s",
		"routes: [{name: x, path: x, methods: [GET], upstream: backend}]":                                                               "routes[0].path: must start with a slash",
		"routes: [{name: x, path: /x, methods: [BREW], upstream: backend}]":                                                             "routes[0].methods[0]: must be GET",
		"routes: [{name: x, path: /x, upstream: backend}]":                                                                              "routes[0].methods: must name at least one",
		"routes: [{name: x, path: /x, methods: [POST], upstream: backend, kind: reserve}]":                                              "routes[0].path: a route of kind reserve needs",
		"routes: [{name: x, path: '/{sale}', methods: [POST], upstream: backend, kind: reserve, auth: none}]":                           "routes[0].auth: a route of kind reserve",
		"routes: [{name: x, path: /x, methods: [GET], upstream: backend, auth: none, roles: [a]}]":                                      "routes[0].roles: need auth",
		"routes: [{name: x, path: /x, methods: [GET], upstream: backend, forward_headers: [Headgate-User]}]":                            "routes[0].forward_headers[0]:",
		"routes: [{name: x, path: /x, methods: [GET], upstream: backend}, {name: x, path: /y, methods: [GET], upstream: backend}]":      `routes[1].name: "x" is used twice`,
		"stages: {nothing: {mode: off}}":                                                                                                "stages.nothing: there is no such stage",
		"stages: {blacklist: {mode: maybe}}":                                                                                            "stages.blacklist.mode: must be off, shadow or enforce",
		"stages: {token: {mode: shadow}}":                                                                                               "stages.token.mode: this stage always enforces",
		"stages: {user_interval: {mode: off}}":                                                                                          "stages.user_interval: has no mode of its own: set that of limits.user_interval",
		"limits: {node_bucket: {mode: enforce, rate: 10}}":                                                                              "limits.node_bucket.burst: must be 1 to 1000000",
		"routes: [{name: x, path: /x, methods: [GET], upstream: backend, queue: {rate: 1, length: 5, max_wait: 25s}}]":                  "routes[0].queue.max_wait: must be shorter than service.drain_for (20s), is 25s",
		"routes: [{name: x, path: /x, methods: [GET], upstream: backend, queue: {rate: 1, length: 0, max_wait: 1s}}]":                   "routes[0].queue.length: must be 1 to 10000",
		"routes: [{name: x, path: /x, methods: [GET], upstream: backend, kind: long_poll, queue: {rate: 1, length: 1, max_wait: 1s}}]":  "routes[0].queue: a route of kind long_poll cannot have one",
		"routes: [{name: x, path: /x, methods: [GET], upstream: backend, bucket: {rate: 1}}]":                                           "routes[0].bucket.burst: must be 1 to 1000000",
		"routes: [{name: x, path: /x, methods: [GET], upstream: backend, address_bucket: {mode: off, rate: -1}, bucket: {rate: .inf}}]": "routes[0].bucket.rate: want a finite number",
		"limits: {user_interval: {every: 2h}}":                                                                                          "limits.user_interval.every: must be 1ms to 1h, is 2h0m0s",
		"limits: {address_bucket: {mode: shade}}":                                                                                       "limits.address_bucket.mode: must be off, shadow or enforce",
		"limits: {user_bucket: {rate: 0}}":                                                                                              "limits.user_bucket.rate: must be 0.001 to 1e+09 a second, is 0 (set mode off for no limit)",
		"trusted_proxies: [10.0.0.0/8, x]":                                                                                              "trusted_proxies[1]:",
		"state_max_age: 300ms":                                                                                                          "state_max_age: must be at least twice poll_interval",
		"service: {drain_for: 5s}":                                                                                                      "service.drain_for: must be longer than a purchase may take",
		"server: {header_bytes: 10}":                                                                                                    "server.header_bytes: must be",
		"log_refusals_per_second: -1":                                                                                                   "log_refusals_per_second: must be",
		"token_cache_entries: 0":                                                                                                        "token_cache_entries: must be",
	} {
		c := DefaultConfig()
		err := config.Parse("x.yaml", []byte(keysYAML+text+"\n"), &c)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "x.yaml:") {
			t.Errorf("%s\n got %v\nwant %s", text, err, want)
		}
	}
}
