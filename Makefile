# Headgate. `make` alone lists the targets.
#
# Needs Go 1.26 and nothing else to run. Tests of real parts want RabbitMQ, MariaDB, Redis' client,
# nginx, wrk, JMeter, promtool and Chromium with its driver; those that are missing are skipped and counted at the end.

VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo unversioned)
PROGRAMS := interceptor counter backend consumer headgate cluster
DATA     ?= $(or $(HEADGATE_DATA),./data)

# Programs, vet and plain tests share one set of build flags, so that one build cache serves them all.
export CGO_ENABLED = 0
export GOFLAGS = -trimpath -buildvcs=false
LDFLAGS = -s -w -X headgate.example/lib/service.version=$(VERSION)

.DEFAULT_GOAL := help
.PHONY: help run reset cluster cluster-status cluster-down build test soak bench bench-edge bench-counter bench-ledger bench-cluster check clean vet format services $(PROGRAMS:%=bin/%)

help: ## show this list
	@awk -F':.*## ' '/^[a-z][a-z-]*:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

run: bin/headgate ## run all layers in one process on ./data (HEADGATE_DATA); needs Go and nothing else
	@exec bin/headgate dev --data "$(DATA)"

reset: ## delete ./data (HEADGATE_DATA), so that the next `make run` starts over
	@if [ -e "$(DATA)" ] && [ ! -e "$(DATA)/headgate.yaml" ]; then \
		echo "make reset: $(DATA) holds no headgate.yaml, so it is not Headgate's data: nothing was deleted" >&2; exit 1; fi
	rm -rf -- "$(DATA)"

cluster: build ## run every program as a process of its own, as deploy/local says, with private RabbitMQ and MariaDB, on ./data/cluster (HEADGATE_CLUSTER)
	@bin/cluster up

cluster-status: bin/cluster ## who is alive and leads, shares of the ring, queues, audit
	@bin/cluster status

cluster-down: bin/cluster ## end the cluster; `bin/cluster down --wipe` removes its data, too
	@bin/cluster down

build: $(PROGRAMS:%=bin/%) ## build bin/{interceptor,counter,backend,consumer,headgate,cluster}

# The go command knows best what is up to date.
bin/interceptor bin/counter bin/backend bin/consumer: bin/%:
	go build -ldflags '$(LDFLAGS)' -o $@ ./$*/cmd/$*
bin/headgate:
	go build -ldflags '$(LDFLAGS)' -o $@ ./cli/cmd/headgate
bin/cluster:
	go build -ldflags '-s -w' -o $@ ./apptest/cmd/cluster

# Package tests run with the race detector (it needs gcc or clang; without one they run without it,
# said loudly); crowds and kills run on the plain programs of bin/. apptest/cmd/services starts
# private RabbitMQ and MariaDB servers and stops them; apptest/cmd/testrun prints go test's closing
# lines, and at the end how many tests were skipped for want of a service (CI=true: a failure).
RUN_TESTS = HEADGATE_TEST_BIN=$(CURDIR)/bin go run ./apptest/cmd/services -- go run ./apptest/cmd/testrun

test: vet format build ## vet, format, all tests: packages with the race detector, then whole programs under load
	$(RUN_TESTS)

soak: build ## the long tests: simulation for an hour (HEADGATE_SIM_FOR), 50 rounds of kill -9, 50 of each fault of broker, database and consumers (HEADGATE_FAULT_ROUNDS), 300 faults of three voters, 30 of two shards of three, each fuzz target for a minute (HEADGATE_FUZZ_TIME)
	HEADGATE_SIM_FOR=$${HEADGATE_SIM_FOR:-1h} go test -count=1 -timeout 0 -v -run '^TestSeeds$$' ./counter/simulation
	HEADGATE_KILL_ROUNDS=$${HEADGATE_KILL_ROUNDS:-50} HEADGATE_FAULT_ROUNDS=$${HEADGATE_FAULT_ROUNDS:-50} HEADGATE_LINEAR_ROUNDS=$${HEADGATE_LINEAR_ROUNDS:-300} HEADGATE_SHARD_KILLS=$${HEADGATE_SHARD_KILLS:-30} \
		$(RUN_TESTS) -only apptest -run 'TestKillRounds|TestFaults|TestCrowd|TestLinearizable|TestLeadersOfTwoShards' -timeout 3h
	go run ./apptest/cmd/fuzzall -each $${HEADGATE_FUZZ_TIME:-60s}

bench: bench-edge bench-counter bench-ledger ## all benchmarks: the edge against fasthttp and nginx, the counter against Redis, queue and ledger (about 14 minutes)

# EDGE_BENCH takes flags of edgebench, such as "-rounds 1 -run 1s -only refuse" for a quick look.
bench-edge: bin/interceptor bin/counter ## the edge against bare fasthttp and nginx limit_req, loaded by wrk: ratios as `name: value` lines
	@go run ./apptest/cmd/services --only nginx,wrk -- go run ./apptest/cmd/edgebench -interceptor bin/interceptor -counter bin/counter $(EDGE_BENCH)
	@words=$$(go test -count=1 -v -run '^TestBytesPerTrackedUser$$' ./interceptor); status=$$?; \
		if [ $$status = 0 ]; then echo "$$words" | grep '^edge\.'; else echo "$$words"; exit $$status; fi

# COUNTER_BENCH takes flags of counterbench, such as "-pairs 1 -run 300ms -only durable" for a quick look.
bench-counter: bin/counter ## the counter against a private Redis, two shards against one: ratios as `name: value` lines (some minutes)
	@go run ./apptest/cmd/counterbench -counter bin/counter $(COUNTER_BENCH)

# The publish path is compared inside its package; what whole programs do, from the outside.
bench-ledger: build ## publishing against the AMQP client alone, the consumer against one transaction a request and LOAD DATA, 100,000 deadlines at once, three times: `name: value` lines (about 6 minutes)
	@HEADGATE_TEST_BIN=$(CURDIR)/bin go run ./apptest/cmd/services --only rabbitmq,mariadb -- sh -c \
		'words=$$(go test -count=1 -run "^$$" -bench "^(BenchmarkPublishAgainstClient|BenchmarkLedger)" -benchtime 1x -timeout 20m ./lib/queue/rabbitmq ./apptest 2>&1 && \
			HEADGATE_TEST_DUE_ORDERS=100000 HEADGATE_TEST_DUE_ROUNDS=3 go test -count=1 -v -run "^TestDueTogether$$" -timeout 10m ./apptest 2>&1); status=$$?; \
		if [ $$status = 0 ]; then echo "$$words" | grep "^ledger\."; else echo "$$words"; exit $$status; fi'

# CLUSTER_BENCH takes flags of clusterbench, such as "-pairs 1 -only soldout" for a quick look. Not part of `make bench`:
# as root only, since it holds processes to shares of a processor.
bench-cluster: build ## the same crowd behind nginx against one and three edges, one and two counter shards, at the same CPU quota each (about 6 minutes; root)
	@go run ./apptest/cmd/services --only nginx,wrk -- go run ./apptest/cmd/clusterbench $(CLUSTER_BENCH)

check: vet format bin/headgate ## vet, format, the programs built for macOS and Windows, staticcheck when installed, sample configs, go.mod files
	set -a; eval "$$(bin/headgate secret --env)"; bin/headgate check deploy/config/*.yaml deploy/config/*/*.yaml deploy/examples/*/*.yaml deploy/local/*-*.yaml deploy/local/headgate.yaml
	for system in darwin windows; do GOOS=$$system go build $(foreach p,interceptor counter backend consumer,./$(p)/cmd/$(p)) ./cli/cmd/headgate || exit 1; done
	@if command -v staticcheck >/dev/null; then echo staticcheck; staticcheck $$(go list work); \
		else echo "staticcheck is not installed: left out (go install honnef.co/go/tools/cmd/staticcheck@latest)"; fi
	@for module in $$(go list -m -f '{{.Dir}}'); do \
		(cd $$module && GOWORK=off go mod tidy -diff) || { echo "run: cd $$module && GOWORK=off go mod tidy" >&2; exit 1; }; done

vet:
	go vet work
	go vet -tags simbroken_borrow,simbroken_refuse,simbroken_wall ./counter/machine ./counter/simulation
	go vet -tags rehearsalbroken ./consumer

format:
	@unformatted=$$(gofmt -l $$(go list -m -f '{{.Dir}}')); if [ -n "$$unformatted" ]; then \
		echo "not gofmt'ed, run gofmt -w on:" >&2; echo "$$unformatted" >&2; exit 1; fi

clean: ## delete what was built
	rm -rf bin
