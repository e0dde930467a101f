package peers

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"headgate.example/hashring"
)

// maxPairs bounds how many nodes a config may name for rings to be told apart that differ in two nodes; with more,
// in one.
const maxPairs = 64

// tell says in words in what the live peers differ from this node, all of whose config's nodes are given. It takes a
// while where rings of many nodes differ, for which nobody waits, and is done once for each ring.
func (r *Report) tell(heard map[string]*peerWord, v *view, all []string) {
	own, rings := r.ConfigHash(), make(map[uint64]string)
	for i := range r.Members {
		m := &r.Members[i]
		word := heard[m.Name]
		if word != nil && word.epoch != v.epoch {
			if rings[word.epoch] == "" {
				rings[word.epoch] = ringDifference(word.epoch, v.names(), all)
			}
			m.Differs = append(m.Differs, rings[word.epoch])
		}
		if word != nil && word.configHash != own {
			m.Differs = append(m.Differs, "it runs another configuration")
		}
		if len(m.Differs) > 0 {
			r.Agreed = false
		} else {
			m.DiffersMs = 0 // it may have been seen to differ from a ring that was this node's until a moment ago
		}
	}
}

// ringDifference finds out what another ring has or lacks. A peer only tells its epoch, which stands for the set of
// its ring's nodes; so the sets that are next to this node's own are tried.
func ringDifference(epoch uint64, names, all []string) string {
	try := func(changed ...string) (string, bool) {
		other := slices.Clone(names)
		var lacks, has []string
		for _, name := range changed {
			if at := slices.Index(other, name); at >= 0 {
				other = slices.Delete(other, at, at+1)
				lacks = append(lacks, name)
			} else {
				other = append(other, name)
				has = append(has, name)
			}
		}
		if number, err := strconv.ParseUint(hashring.EpochOf(other, hashring.DefaultParams()), 16, 64); err != nil || number != epoch {
			return "", false
		}
		var words []string
		if len(lacks) > 0 {
			words = append(words, "lacks "+strings.Join(lacks, " and "))
		}
		if len(has) > 0 {
			words = append(words, "has "+strings.Join(has, " and ")+", which this node's lacks")
		}
		return "its ring " + strings.Join(words, " and "), true
	}
	for _, one := range all {
		if words, found := try(one); found {
			return words
		}
	}
	if len(all) <= maxPairs {
		for i, one := range all {
			for _, other := range all[:i] {
				if words, found := try(other, one); found {
					return words
				}
			}
		}
	}
	return "its ring has nodes that this node's list of peers does not name, or differs in several"
}

// note keeps since when a live peer's ring or configuration has been another one than this node's, with the Set's
// lock held.
func (m *member) note(word *peerWord, epoch uint64, configHash string, now time.Time) {
	switch {
	case !m.alive || word == nil || word.epoch == epoch && word.configHash == configHash:
		m.differs = time.Time{}
	case m.differs.IsZero():
		m.differs = now
	}
}

// Difference is how a member differs from the node that reports, in one sentence; empty when it does not.
func (m *MemberReport) Difference() string {
	if len(m.Differs) == 0 {
		return ""
	}
	since := ""
	if age := time.Duration(m.DiffersMs) * time.Millisecond; age > 0 {
		since = " for " + age.Round(100*time.Millisecond).String()
	}
	return fmt.Sprintf("%s differs%s: %s", m.Name, since, strings.Join(m.Differs, "; "))
}

// Odd reports whether this node is the one that differs: from all others that live, while those, two or more, have one ring and one configuration.
func (r *Report) Odd() bool {
	live := 0
	var first *MemberReport
	for i := range r.Members {
		m := &r.Members[i]
		if m.Name == r.Self || m.Epoch == "" {
			continue
		}
		if live++; first == nil {
			first = m
		}
		if len(m.Differs) == 0 || m.Epoch != first.Epoch || m.ConfigHash != first.ConfigHash {
			return false
		}
	}
	return live > 1
}
