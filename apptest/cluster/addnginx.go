//go:build linux

package cluster

import (
	"fmt"
	"regexp"
	"strings"
)

var (
	mapLine  = regexp.MustCompile(`(?m)^(\s*)interceptor-[0-9]+ headgate_[0-9]+;\n`)
	upstream = regexp.MustCompile(`(?ms)^( *)upstream headgate_([a-z0-9]+) \{\n.*?^ *\}\n`)
	server   = regexp.MustCompile(`(?m)^\s*server .*;\n`)
)

// patience is when nginx leaves an interceptor alone: see the file.
const patience = "max_fails=10 fail_timeout=2s"

// addUpstream makes nginx know one more interceptor: by its cookie, among those that anybody may be sent to,
// as the others' backup, and with the others as its own.
func (e *edits) addUpstream(file string, l *Layout, name, address string) error {
	number := strings.TrimPrefix(name, Interceptor+"-")
	err := e.copyLine(file, mapLine, func(line string) string {
		return line[:len(line)-len(strings.TrimLeft(line, " "))] + fmt.Sprintf("%s headgate_%s;\n", name, number)
	})
	if err != nil {
		return err
	}
	text, err := e.read(file)
	if err != nil {
		return err
	}
	blocks := upstream.FindAllString(text, -1)
	if len(blocks) < 2 {
		return fmt.Errorf("%s: no upstreams headgate_any and headgate_1 to be extended", file)
	}
	for _, block := range blocks {
		kind := "backup " + patience
		if strings.Contains(block, " headgate_any {") {
			kind = patience
		}
		text = strings.Replace(text, block, addServer(block, address, kind), 1)
	}
	last := upstream.FindAllString(text, -1)
	text = strings.Replace(text, last[len(last)-1], last[len(last)-1]+newUpstream(last[len(last)-1], l, number, address), 1)
	e.texts[file] = text
	return nil
}

// addServer puts a server behind the last one of an upstream.
func addServer(block, address, kind string) string {
	all := server.FindAllStringIndex(block, -1)
	if len(all) == 0 {
		return block
	}
	line := block[all[len(all)-1][0]:all[len(all)-1][1]]
	indent := line[:len(line)-len(strings.TrimLeft(line, " "))]
	end := all[len(all)-1][1]
	return block[:end] + fmt.Sprintf("%sserver %s %s;\n", indent, address, kind) + block[end:]
}

// newUpstream is an upstream like another one, of the new interceptor.
func newUpstream(like string, l *Layout, number, address string) string {
	found := upstream.FindStringSubmatch(like)
	indent := found[1] + "    "
	servers := fmt.Sprintf("%sserver %s %s;\n", indent, address, patience)
	for _, other := range l.Of(Interceptor) {
		servers += fmt.Sprintf("%sserver %s backup %s;\n", indent, other.Address(), patience)
	}
	all := server.FindAllStringIndex(like, -1)
	rest := like[all[len(all)-1][1]:]
	return fmt.Sprintf("%supstream headgate_%s {\n%s%s", found[1], number, servers, rest)
}
