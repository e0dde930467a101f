package machine

import "fmt"

// RuleKind says what a Rule is about. The numbers are written to logs and snapshots: never renumber.
type RuleKind uint8

// The kinds of rules.
const (
	RuleUser    RuleKind = 1 // a banned user
	RuleAddress RuleKind = 2 // a banned address or network, in canonical form
	RuleToken   RuleKind = 3 // a user whose tokens issued before Before are void
)

var ruleWords = [...]string{RuleUser: "user", RuleAddress: "address", RuleToken: "token"}

// String is the word used on the wire.
func (k RuleKind) String() string {
	if int(k) < len(ruleWords) && k != 0 {
		return ruleWords[k]
	}
	return fmt.Sprintf("RuleKind(%d)", uint8(k))
}

// ParseRuleKind reads the word used on the wire. Errors are *sale.FieldError.
func ParseRuleKind(word string) (RuleKind, error) {
	for kind, name := range ruleWords {
		if name == word && name != "" {
			return RuleKind(kind), nil
		}
	}
	return 0, refuse("kind", "must be user, address or token")
}

// Rule is a ban or a revocation, or the news that one was removed.
type Rule struct {
	Index   int64 // the rules index of its last change
	Kind    RuleKind
	Value   string
	Until   int64 // wall ms at which a ban ends by itself, readers check it; 0: for good
	Before  int64 // RuleToken: tokens issued before this wall ms are void
	Reason  string
	Removed bool
}

// RuleChanges answers RULES since. Full: Changes are all rules in force, and whatever the reader knew
// is void. Otherwise they are the changes after since, oldest first.
type RuleChanges struct {
	Full    bool
	Index   int64
	Changes []Rule
}
