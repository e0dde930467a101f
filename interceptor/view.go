package interceptor

// What a node's admin port tells of its users, as JSON; `headgate edge` shows it. Times are milliseconds
// since 1970 by the counter's clock.

// UserView is what a node knows of one user.
type UserView struct {
	Node string `json:"node"`
	User string `json:"user"`
	// Owner is the node that keeps the user's budgets, as this one sees it.
	Owner string `json:"owner"`
	// Bans that stand, of operators and of this node.
	Bans []BanView `json:"bans"`
	// RevokedBefore: tokens issued before this time are void; 0: none were revoked.
	RevokedBefore int64 `json:"revoked_before,omitempty"`
	// Budgets at this node; one that is not tracked is full. They mean little where Owner is another.
	Budgets []BudgetView `json:"budgets"`
	// Refusals are the last reasons, the latest first.
	Refusals []RefusalView `json:"refusals"`
}

// BudgetView is one of a user's budgets.
type BudgetView struct {
	Name   string `json:"name"`
	Mode   string `json:"mode"`
	Left   int64  `json:"left"` // events that would be allowed now
	Of     int64  `json:"of"`
	FullIn int64  `json:"full_in_ms"`
}

// BanView is one ban.
type BanView struct {
	Kind   string `json:"kind"` // user or address
	Value  string `json:"value"`
	Until  int64  `json:"until,omitempty"` // 0: for good
	Reason string `json:"reason,omitempty"`
	// By is "operator", for what stands at the control shard, or "strikes", for what this node decided.
	By      string `json:"by"`
	Strikes int    `json:"strikes,omitempty"` // that led to it
}

// BansView lists the bans that a node enforces.
type BansView struct {
	Node string    `json:"node"`
	Bans []BanView `json:"bans"`
	// Total is their whole number, where not all are listed.
	Total int `json:"total"`
	// Rules tells how far the node has followed the control shard; Known is false before its first word.
	Rules int64 `json:"rules_index"`
	Known bool  `json:"rules_known"`
}

// RefusalView is one refused request, or several in a row of one user for one reason.
type RefusalView struct {
	At      int64  `json:"at"`
	Request string `json:"request"`
	Code    string `json:"code"`
	Stage   string `json:"stage"`
	Route   string `json:"route,omitempty"`
	Detail  string `json:"detail,omitempty"`
	User    string `json:"user,omitempty"`
	Address string `json:"address"`
	Times   int    `json:"times,omitempty"`
}

// RefusalsView lists refused requests, the latest first.
type RefusalsView struct {
	Node     string        `json:"node"`
	Refusals []RefusalView `json:"refusals"`
}

// TalkerView is one of those who ask most.
type TalkerView struct {
	Key      string `json:"key"`
	Requests int64  `json:"requests"` // an estimate: one request in Sample is counted
	Surplus  int64  `json:"surplus"`  // of Requests, what may be others'
	Refused  int64  `json:"refused"`
}

// TopView lists those who ask most.
type TopView struct {
	Node      string       `json:"node"`
	Seconds   float64      `json:"seconds"` // that were counted
	Sample    int64        `json:"sample"`
	Users     []TalkerView `json:"users"`
	Addresses []TalkerView `json:"addresses"`
}

// SaleView is what a node knows of one sale, and of the rules.
type SaleView struct {
	Node string `json:"node"`
	Sale string `json:"sale"`
	// Heard: the counter's list of sales is recent enough to go by; Age is how old it is.
	Heard bool  `json:"heard"`
	Age   int64 `json:"age_ms"`
	Known bool  `json:"known"` // the sale is in that list
	// Code is what speaks against new orders now, such as not_open; empty: nothing.
	Code    string `json:"code,omitempty"`
	OpensAt int64  `json:"opens_at,omitempty"`
	// As in BansView.
	Rules      int64 `json:"rules_index"`
	RulesKnown bool  `json:"rules_known"`
}
