//go:build linux

package cluster

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// portsPerShard lie between the ports of two shards' voters.
const portsPerShard = 10

var shardOwn = regexp.MustCompile(`(?m)^shard: \{ name: ([a-z0-9]+), number: ([0-9]+) \}`)

// addShard makes a shard like the first one, under the next number.
func (e *edits) addShard(l *Layout, shard string) (members []string, err error) {
	if slices.Contains(l.Shards(), shard) {
		return nil, errors.New("it is there already")
	}
	voters := l.Of(Counter)
	if len(voters) == 0 {
		return nil, errors.New("there is no counter to be copied")
	}
	first := voters[0].Shard
	number, firstNumber, err := e.nextNumber(voters)
	if err != nil {
		return nil, err
	}
	var listens []Listen
	var entries, addresses []string
	for _, v := range voters {
		if v.Shard == first {
			listens = append(listens, v.Listens...)
		}
	}
	move := mover(listens, portsPerShard*(number-firstNumber))
	own := fmt.Sprintf("shard: { name: %s, number: %d }", shard, number)
	for _, v := range voters {
		if v.Shard != first {
			continue
		}
		name := strings.Replace(v.Name, "-"+first+"-", "-"+shard+"-", 1)
		text, err := e.read(filepath.Base(v.Config))
		if err != nil {
			return nil, err
		}
		text = strings.NewReplacer(v.Name, name, "shard "+first, "shard "+shard).Replace(text)
		e.texts[name+".yaml"] = shardOwn.ReplaceAllString(move(text), own)
		members = append(members, name)
		addresses = append(addresses, strconv.Quote(move(v.Address())))
		entries = append(entries, fmt.Sprintf("  - { name: %s, config: %[1]s.yaml }\n", name))
	}
	last := voters[len(voters)-1].Name
	if err := e.copyLine(LayoutFile, entryOf(last), func(string) string { return strings.Join(entries, "") }); err != nil {
		return nil, err
	}
	return members, e.nameShard(l, members, fmt.Sprintf("- { name: %s, number: %d, addresses: [%s] }\n", shard, number, strings.Join(addresses, ", ")), first)
}

// nextNumber gives a number that no shard had, and that of the first voter's shard.
func (e *edits) nextNumber(voters []*Entry) (next, first int, err error) {
	for i, v := range voters {
		text, err := e.read(filepath.Base(v.Config))
		if err != nil {
			return 0, 0, err
		}
		own := shardOwn.FindStringSubmatch(text)
		if own == nil {
			return 0, 0, fmt.Errorf("%s: no line `shard: { name: %s, number: N }`", v.Config, v.Shard)
		}
		n, err := strconv.Atoi(own[2])
		if err != nil {
			return 0, 0, err
		}
		if i == 0 {
			first = n
		}
		next = max(next, n+1)
	}
	return next, first, nil
}

// nameShard puts the new shard into every list of shards: those of clients, and the peers of the others. The
// peers of its own voters are all others; their files, copies of the first shard's, lack that one.
func (e *edits) nameShard(l *Layout, members []string, entry, first string) error {
	files := []string{"headgate.yaml"}
	for _, kind := range []string{Interceptor, Backend, Consumer, Counter} {
		for _, m := range l.Of(kind) {
			files = append(files, filepath.Base(m.Config))
		}
	}
	for _, file := range files {
		err := e.copyLine(file, shardLine, func(line string) string { return line[:strings.IndexByte(line, '-')] + entry })
		if err != nil {
			return err
		}
	}
	text, err := e.read("headgate.yaml")
	if err != nil {
		return err
	}
	missing := regexp.MustCompile(`(?m)^\s*(- \{ name: ` + first + `, number: .*\n)`).FindStringSubmatch(text)
	if missing == nil {
		return fmt.Errorf("headgate.yaml: no shard %s", first)
	}
	for _, name := range members {
		err := e.copyLine(name+".yaml", shardLine, func(line string) string { return line[:strings.IndexByte(line, '-')] + missing[1] })
		if err != nil {
			return err
		}
	}
	return nil
}
