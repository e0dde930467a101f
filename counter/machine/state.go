package machine

import (
	"io"

	"headgate.example/lib/sale"
)

// Options name the shard. They must be the same on all its voters and never change.
type Options struct {
	Shard  string // the name that Terms.Shards uses
	Number int    // 0 to sale.MaxShard; part of each order id
}

// State is the replicated state of one shard.
type State struct{ opts Options }

func New(opts Options) *State { return &State{opts: opts} }

// Entry is one log entry.
type Entry struct {
	Wall     int64 // the leader's wall clock, ms since 1970
	Served   int64 // served time, ms since the shard first served
	Commands []Command
}

func (e *Entry) Append(dst []byte) []byte                  { return dst }
func DecodeEntry(b []byte) (Entry, error)                  { return Entry{}, nil }
func (s *State) Apply(e *Entry, results []Result) []Result { return results }
func (s *State) Refuse(saleID, user, key string, quantity, wall, served int64) (Result, bool) {
	return Result{}, false
}
func (s *State) Due(wall, served int64) bool                   { return false }
func (s *State) Wall() int64                                   { return 0 }
func (s *State) Served() int64                                 { return 0 }
func (s *State) LastOrder() sale.OrderID                       { return 0 }
func (s *State) Order(id sale.OrderID) (Hold, bool)            { return Hold{}, false }
func (s *State) UserOrders(saleID, user string) ([]Hold, bool) { return nil, false }
func (s *State) Holds(saleID string, state sale.HoldState, after sale.OrderID, limit int) ([]Hold, bool) {
	return nil, false
}
func (s *State) Info(saleID string, wall int64) (sale.Info, bool) { return sale.Info{}, false }
func (s *State) List(wall int64) []sale.Info                      { return nil }
func (s *State) Rules(since int64) RuleChanges                    { return RuleChanges{} }
func (s *State) Audit(saleID string, wall int64) (Audit, bool)    { return Audit{}, false }
func (s *State) CheckInvariants() error                           { return nil }
func (s *State) Snapshot() *Snapshot                              { return nil }

// Hold is one order as the counter knows it. Times are wall-clock ms since 1970.
type Hold struct {
	sale.Binding
	State      sale.HoldState
	Key        string
	ReservedAt int64
	ExpiresAt  int64  // expected, advisory; 0 unless held
	ChangedAt  int64  // of the last change of state
	Reason     string // given by ABORT or RELEASE
	By         Kind   // what released it: Abort or Release, else 0
}

// Audit is what AUDIT shows of one sale.
type Audit struct {
	sale.Info
	Incarnation     int64 // tells a restored sale from the one before it
	HeldOrders      int64
	ConfirmedOrders int64
	ReleasedOrders  int64 // kept ones
	ExpiredOrders   int64 // kept ones
	ExcessOrders    int64 // that lost a clash of slots when the sale was restored
	Excess          []sale.OrderID
	Violation       string // which invariant does not hold; "" when all do
}

// Snapshot is a frozen view of a State.
type Snapshot struct{}

func (s *Snapshot) WriteTo(w io.Writer) (int64, error) { return 0, nil }

// Read rebuilds a State from a snapshot.
func Read(r io.Reader, opts Options) (*State, error) { return nil, nil }
