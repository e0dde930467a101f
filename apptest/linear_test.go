package apptest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"headgate.example/apptest/voters"
)

const (
	linearWorkers  = 8
	linearPace     = 8 * time.Millisecond // between two requests of a worker
	linearLead     = 400 * time.Millisecond
	linearAfter    = 700 * time.Millisecond
	linearDecide   = 30 * time.Second // for the checker
	linearHasty    = 700 * time.Millisecond
	linearPatient  = 8 * time.Second // longer than any pause: what a leader says after one is heard
	linearOpen     = int64(1) << 62  // when an unknown outcome ends
	linearRecently = 6               // orders that commands are about
)

// TestLinearizable buys and gives back while leaders are killed, paused beyond their lease and cut off,
// and shows that every history could have come from one counter that does one thing after the other.
// HEADGATE_LINEAR_ROUNDS sets the number of faults, HEADGATE_LINEAR_SEED repeats their choice.
func TestLinearizable(t *testing.T) {
	t.Parallel()
	rounds := int(envNumber(t, "HEADGATE_LINEAR_ROUNDS", 7))
	seed := envNumber(t, "HEADGATE_LINEAR_SEED", time.Now().UnixNano())
	t.Logf("HEADGATE_LINEAR_SEED=%d HEADGATE_LINEAR_ROUNDS=%d", seed, rounds)
	random := rand.New(rand.NewPCG(uint64(seed), 0))
	shard := startShard(t)
	var decided, unknown int
	for round := range rounds {
		sale := fmt.Sprintf("linear%d", round)
		if err := shard.OpenSale(deadline(t, patience), sale, linearStock, 1); err != nil {
			t.Fatal(err)
		}
		h := &linearHistory{sale: sale, shard: shard, start: time.Now()}
		fault := linearFault(t, shard, random, round)
		stop := h.press(t, random)
		wait(t, linearLead)
		fault()
		if _, err := shard.Leader(deadline(t, patience)); err != nil {
			t.Fatal(err)
		}
		wait(t, linearAfter)
		stop()
		result := porcupine.CheckOperationsTimeout(linearModel(), h.operations, linearDecide)
		if result != porcupine.Ok {
			t.Fatalf("round %d: the history of %d operations, %d of unknown outcome, is %s; repeat with HEADGATE_LINEAR_SEED=%d\n%s",
				round, len(h.operations), h.unknown, result, seed, h)
		}
		decided += len(h.operations) - h.unknown
		unknown += h.unknown
		if err := shard.Whole(deadline(t, patience)); err != nil { // the next fault hits a whole shard
			t.Fatal(err)
		}
	}
	t.Logf("%d operations with a definite outcome, %d with an unknown one", decided, unknown)
	if decided < 100*rounds {
		t.Errorf("only %d operations were decided in %d rounds", decided, rounds)
	}
}

// linearFault chooses what happens to the leader (one time in four: to another voter).
func linearFault(t *testing.T, shard *voters.Shard, random *rand.Rand, round int) func() {
	t.Helper()
	victim, err := shard.Leader(deadline(t, patience))
	if err != nil {
		t.Fatal(err)
	}
	if random.IntN(4) == 0 {
		victim = shard.Voters[random.IntN(len(shard.Voters))]
	}
	long := time.Duration(200+random.IntN(2300)) * time.Millisecond
	must := func(err error) {
		if err != nil {
			t.Error(err)
		}
	}
	what := []string{"kill", "pause", "cut"}[round%3]
	t.Logf("round %d: %s %s for %s", round, what, victim.ID, long)
	switch what {
	case "kill":
		return func() {
			victim.Kill()
			wait(t, long/4)
			must(victim.Start())
		}
	case "pause":
		return func() {
			must(victim.Pause())
			wait(t, long)
			must(victim.Resume())
		}
	}
	return func() {
		victim.CutOff(true)
		wait(t, long)
		victim.CutOff(false)
	}
}

// linearHistory is what the workers asked and were told.
type linearHistory struct {
	sale  string
	shard *voters.Shard
	start time.Time

	mu         sync.Mutex
	operations []porcupine.Operation
	unknown    int
	orders     []string // the latest ones
}

// press starts the workers; what it returns stops them and waits for their last answers.
func (h *linearHistory) press(t *testing.T, random *rand.Rand) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var working sync.WaitGroup
	for worker := range linearWorkers {
		w := &linearWorker{h: h, id: worker, patience: linearPatient, random: rand.New(rand.NewPCG(random.Uint64(), uint64(worker)))}
		if worker%2 == 0 {
			w.patience = linearHasty
		}
		working.Go(func() {
			defer w.hangUp()
			pace := time.NewTicker(linearPace)
			defer pace.Stop()
			for ctx.Err() == nil {
				w.once()
				select {
				case <-pace.C:
				case <-ctx.Done():
				}
			}
		})
	}
	return func() {
		cancel()
		working.Wait()
	}
}

// linearWorker sends one request at a time. After an unknown outcome the request stays open, and the
// worker goes on as another client.
type linearWorker struct {
	h        *linearHistory
	id       int
	patience time.Duration
	random   *rand.Rand
	leader   string // where it last was told that the leader is
	conn     *voters.Conn
	address  string // of conn
}

func (w *linearWorker) hangUp() {
	if w.conn != nil {
		w.conn.Close()
		w.conn = nil
	}
}

// connect mostly goes to the leader, and now and then to any voter: one that believes to lead must not
// answer.
func (w *linearWorker) connect() bool {
	address := w.leader
	if address == "" || w.random.IntN(5) == 0 {
		address = w.h.shard.Voters[w.random.IntN(len(w.h.shard.Voters))].Client
	}
	if w.conn != nil && w.address == address {
		return true
	}
	w.hangUp()
	conn, err := voters.Dial(address, linearHasty)
	if err != nil {
		w.leader = ""
		return false
	}
	w.conn, w.address = conn, address
	return true
}

func (w *linearWorker) once() {
	if !w.connect() {
		return
	}
	call := w.choose()
	began := time.Since(w.h.start).Nanoseconds()
	raw, err := w.conn.Do(w.patience, w.h.words(call)...)
	ended := time.Since(w.h.start).Nanoseconds()
	var refused voters.ReplyError
	switch {
	case err == nil:
		w.leader = w.address
		w.h.add(porcupine.Operation{ClientId: w.id, Input: call, Call: began, Output: readLinear(call, raw), Return: ended})
	case !errors.As(err, &refused):
		w.hangUp()
		w.leader = ""
		w.h.doubt(porcupine.Operation{ClientId: w.id, Input: call, Call: began})
	case errors.Is(err, voters.ReplyError("MOVED")):
		w.leader = refused.Error()[strings.LastIndexByte(refused.Error(), ' ')+1:]
	case errors.Is(err, voters.ReplyError("TRYAGAIN")), errors.Is(err, voters.ReplyError("BUSY")):
		w.leader = "" // certainly not done
	default:
		w.h.doubt(porcupine.Operation{ClientId: w.id, Input: call, Call: began})
	}
}

func (w *linearWorker) choose() linearCall {
	if order := w.h.someOrder(w.random); order != "" && w.random.IntN(2) == 0 {
		return linearCall{command: []string{"CONFIRM", "ABORT", "RELEASE", "ORDER"}[w.random.IntN(4)], order: order}
	}
	return linearCall{command: "RESERVE", user: w.random.IntN(linearUsers), key: w.random.IntN(linearKeys)}
}

func (h *linearHistory) someOrder(random *rand.Rand) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.orders) == 0 {
		return ""
	}
	return h.orders[random.IntN(len(h.orders))]
}

func (h *linearHistory) words(c linearCall) []string {
	switch c.command {
	case "RESERVE":
		return []string{c.command, h.sale, "u" + strconv.Itoa(c.user), "1", "k" + strconv.Itoa(c.key)}
	case "ABORT", "RELEASE":
		return []string{c.command, c.order, "test"}
	}
	return []string{c.command, c.order}
}

func readLinear(c linearCall, raw any) linearReply {
	list, _ := raw.([]any)
	switch {
	case c.command == "ORDER":
		return linearReply{code: voters.Fields(raw)["state"]}
	case c.command == "CONFIRM" && len(list) == 1:
		return linearReply{code: fmt.Sprint(list[0])}
	case c.command != "RESERVE":
		return linearReply{code: fmt.Sprint(raw)}
	case len(list) == 2:
		detail, _ := list[1].(int64)
		return linearReply{code: fmt.Sprint(list[0]), detail: detail}
	case len(list) == 6:
		return linearReply{code: fmt.Sprint(list[0]), order: fmt.Sprint(list[1]), state: fmt.Sprint(list[2])}
	}
	return linearReply{code: fmt.Sprintf("not an answer: %v", raw)}
}

func (h *linearHistory) add(op porcupine.Operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.operations = append(h.operations, op)
	order := op.Output.(linearReply).order
	if order == "" || slices.Contains(h.orders, order) {
		return
	}
	if h.orders = append(h.orders, order); len(h.orders) > linearRecently {
		h.orders = h.orders[1:]
	}
}

// doubt keeps an operation whose outcome nobody knows: it may take effect at any time from its call on. A
// look at an order has none.
func (h *linearHistory) doubt(op porcupine.Operation) {
	if op.Input.(linearCall).command == "ORDER" {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	op.Output, op.Return = linearReply{code: "?"}, linearOpen
	h.operations = append(h.operations, op)
	h.unknown++
}

// String lists the history's end for whoever has to find out.
func (h *linearHistory) String() string {
	const most = 400
	var b strings.Builder
	for _, op := range h.operations[max(0, len(h.operations)-most):] {
		fmt.Fprintf(&b, "%12d %12d client %d: %+v -> %+v\n", op.Call, op.Return, op.ClientId, op.Input, op.Output)
	}
	return b.String()
}
