package config

import (
	"sort"
	"strings"

	"go.yaml.in/yaml/v3"
)

// pair is one key of a mapping with its value.
type pair struct{ key, value *yaml.Node }

// pairs lists a mapping's keys, merged ones (`<<`) last; keys of the mapping itself win over those.
func (d *decoder) pairs(n *yaml.Node, path string, depth int) []pair {
	var own, merged []pair
	lines := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind == yaml.AliasNode && key.Alias != nil {
			key = key.Alias
		}
		switch line, seen := lines[key.Value]; {
		case key.Kind != yaml.ScalarNode || isNull(key):
			d.problem(key, path, "keys must be plain words, got %s", kindOf(key))
		case key.Tag == "!!merge":
			merged = append(merged, d.mergePairs(value, path, depth+1)...)
		case seen:
			d.problem(key, join(path, key.Value), "duplicate key: it is already set in line %d", line)
		default:
			lines[key.Value] = key.Line
			own = append(own, pair{key, value})
		}
	}
	for _, p := range merged {
		if _, seen := lines[p.key.Value]; !seen {
			lines[p.key.Value] = p.key.Line
			own = append(own, p)
		}
	}
	return own
}

// mergePairs reads what stands behind `<<`: a mapping, or a list of them, the first winning.
func (d *decoder) mergePairs(n *yaml.Node, path string, depth int) []pair {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n == nil || !d.enter(n, path, depth) {
		return nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		return d.pairs(n, path, depth)
	case yaml.SequenceNode:
		var all []pair
		for _, item := range n.Content {
			all = append(all, d.mergePairs(item, path, depth+1)...)
		}
		return all
	default:
		d.problem(n, path, "<< wants a section or a list of sections, got %s", kindOf(n))
		return nil
	}
}

// suggestion names the known key that an unknown one most likely stands for, or lists what there is.
func suggestion[V any](name string, known map[string]V) string {
	names := make([]string, 0, len(known))
	for k := range known {
		names = append(names, k)
	}
	sort.Strings(names)
	best, least := "", 3
	plain := strings.ReplaceAll(strings.ToLower(name), "-", "_")
	for _, k := range names {
		if d := distance(plain, k); d < least && d < len(k) {
			best, least = k, d
		}
	}
	switch {
	case best != "":
		return "; did you mean \"" + best + "\"?"
	case len(names) == 0:
		return "; this section has no keys"
	case len(names) <= 12:
		return "; known are " + strings.Join(names, ", ")
	default:
		return ""
	}
}

// distance is the number of edits between two words, a swap of neighbours counted as one. Long words
// are not compared: nobody misspells those, and the work grows with the product of the lengths.
func distance(a, b string) int {
	const longest = 64
	if len(a) > longest || len(b) > longest {
		return longest
	}
	var rows [3][longest + 1]int
	before, last, now := &rows[0], &rows[1], &rows[2]
	for j := range len(b) + 1 {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		now[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			now[j] = min(last[j]+1, now[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				now[j] = min(now[j], before[j-2]+1)
			}
		}
		before, last, now = last, now, before
	}
	return last[len(b)]
}
