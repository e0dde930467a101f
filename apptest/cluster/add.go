//go:build linux

package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Addition is a member, or a shard of them, that Add has written into the config files.
type Addition struct {
	Kind    string
	Members []string // new ones
	Files   []string // that were written or changed
}

// edits are the config files of a folder as they are to be, by name.
type edits struct {
	folder string
	texts  map[string]string
}

// wantedName is what Add takes.
var wantedName = regexp.MustCompile(`^(?:(interceptor|backend|consumer)-([0-9]{1,3})|shard-([a-z][a-z0-9]{0,15}))$`)

// Add writes the config files of one more interceptor, backend or consumer (interceptor-4), or of a shard of
// the counter with as many voters as the first one (shard-s3), and names it wherever the others have to. Files
// are made from those of the first of the kind; lists of members are lines, of which the last one is copied. It
// changes all files or none, and starts nothing.
func Add(folder, name string) (*Addition, error) {
	parts := wantedName.FindStringSubmatch(name)
	if parts == nil {
		return nil, fmt.Errorf("%q: want interceptor-N, backend-N, consumer-N, or shard-NAME", name)
	}
	layout, err := ReadLayout(folder)
	if err != nil {
		return nil, err
	}
	e := &edits{folder: folder, texts: make(map[string]string)}
	a := &Addition{Kind: parts[1], Members: []string{name}}
	switch parts[1] {
	case Interceptor:
		err = e.addInterceptor(layout, name)
	case Backend:
		err = e.addBackend(layout, name)
	case Consumer:
		_, err = e.copyMember(layout, name)
	default:
		a.Kind = Counter
		a.Members, err = e.addShard(layout, parts[3])
	}
	if err == nil {
		err = e.addAdmins(a.Members)
	}
	if err == nil {
		err = e.try()
	}
	if err != nil {
		return nil, fmt.Errorf("adding %s: %w", name, err)
	}
	for file := range e.texts {
		a.Files = append(a.Files, file)
	}
	slices.Sort(a.Files)
	return a, e.write(folder)
}

func (e *edits) read(file string) (string, error) {
	if text, edited := e.texts[file]; edited {
		return text, nil
	}
	text, err := os.ReadFile(filepath.Join(e.folder, file))
	return string(text), err
}

func (e *edits) write(folder string) error {
	for file, text := range e.texts {
		if err := os.WriteFile(filepath.Join(folder, file), []byte(text), 0o644); err != nil { //nolint:gosec // samples without secrets
			return err
		}
	}
	return nil
}

// try has the layout read with the edits, in a folder of its own: two members on one port are found here.
func (e *edits) try() error {
	trial, err := os.MkdirTemp("", "headgate-add-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(trial) //nolint:errcheck // a temporary folder
	if err := os.CopyFS(trial, os.DirFS(e.folder)); err != nil {
		return err
	}
	if err := e.write(trial); err != nil {
		return err
	}
	_, err = ReadLayout(trial)
	return err
}

// listLine is a line that names one of several in a list.
var listLine = regexp.MustCompile(`^\s*- \{`)

// copyMember makes the files of a further member from those of the first one of its kind, whose ports are
// counted up by the difference of the numbers; lines of lists are left as they are. It gives the new member's address.
func (e *edits) copyMember(l *Layout, name string) (address string, err error) {
	kind, digits, _ := strings.Cut(name, "-")
	n, err := strconv.Atoi(digits)
	if err != nil {
		return "", err
	}
	all := l.Of(kind)
	if len(all) == 0 {
		return "", fmt.Errorf("there is no %s to be copied", kind)
	}
	if l.Find(name) != nil {
		return "", errors.New("it is there already")
	}
	first := all[0]
	from, err := strconv.Atoi(first.Name[strings.LastIndexByte(first.Name, '-')+1:])
	if err != nil {
		return "", err
	}
	text, err := e.read(filepath.Base(first.Config))
	if err != nil {
		return "", err
	}
	move := mover(first.Listens, n-from)
	var out strings.Builder
	for line := range strings.Lines(text) {
		if !listLine.MatchString(line) {
			line = move(strings.ReplaceAll(line, first.Name, name))
		}
		out.WriteString(line)
	}
	e.texts[name+".yaml"] = out.String()
	last := all[len(all)-1].Name
	return move(first.Address()), e.copyLine(LayoutFile, entryOf(last), func(line string) string { return strings.ReplaceAll(line, last, name) })
}

// entryOf finds a member's line in cluster.yaml.
func entryOf(name string) *regexp.Regexp {
	return regexp.MustCompile(`(?m)^\s*- \{ name: ` + regexp.QuoteMeta(name) + `, .*\n`)
}

// mover replaces addresses by such whose ports are so much higher.
func mover(listens []Listen, by int) func(string) string {
	var pairs []string
	for _, at := range listens {
		host, digits, _ := strings.Cut(at.Address, ":")
		port, err := strconv.Atoi(digits)
		if err == nil {
			pairs = append(pairs, at.Address, fmt.Sprintf("%s:%d", host, port+by))
		}
	}
	return strings.NewReplacer(pairs...).Replace
}

// copyLine puts a changed copy of the last line that matches behind it.
func (e *edits) copyLine(file string, match *regexp.Regexp, change func(line string) string) error {
	text, err := e.read(file)
	if err != nil {
		return err
	}
	all := match.FindAllStringIndex(text, -1)
	if len(all) == 0 {
		return fmt.Errorf("%s: no line like %s is there to be copied: add it by hand", file, match)
	}
	last := all[len(all)-1]
	e.texts[file] = text[:last[1]] + change(text[last[0]:last[1]]) + text[last[1]:]
	return nil
}

var (
	peerLine  = regexp.MustCompile(`(?m)^\s*- \{ name: interceptor-[0-9]+, address: .*\n`)
	shardLine = regexp.MustCompile(`(?m)^(\s*)- \{ name: [a-z0-9]+, number: [0-9]+, addresses: .*\n`)
	upstreams = regexp.MustCompile(`(name: backend, addresses: \[[^\]]*)\]`)
)

func (e *edits) addInterceptor(l *Layout, name string) error {
	address, err := e.copyMember(l, name)
	if err != nil {
		return err
	}
	files := []string{"headgate.yaml", name + ".yaml"}
	for _, other := range l.Of(Interceptor) {
		files = append(files, filepath.Base(other.Config))
	}
	for _, file := range files {
		err := e.copyLine(file, peerLine, func(line string) string {
			return line[:strings.IndexByte(line, '-')] + fmt.Sprintf("- { name: %s, address: %q }\n", name, address)
		})
		if err != nil {
			return err
		}
	}
	for _, proxy := range l.Of(Nginx) {
		if err := e.addUpstream(filepath.Base(proxy.Config), l, name, address); err != nil {
			return err
		}
	}
	return nil
}

var (
	adminOf   = regexp.MustCompile(`(?m)^  admin: (127\.0\.0\.1:[0-9]+)\b`)
	adminList = regexp.MustCompile(`(?ms)^(admins: \[[^\]]*)\]`)
)

// addAdmins names the new members' admin ports for the operator's commands, where there is a list of them.
func (e *edits) addAdmins(members []string) error {
	const file = "headgate.yaml"
	text, err := e.read(file)
	if err != nil || !adminList.MatchString(text) {
		return err
	}
	for _, name := range members {
		found := adminOf.FindStringSubmatch(e.texts[name+".yaml"])
		if found == nil {
			return fmt.Errorf("%s.yaml: no line `admin: 127.0.0.1:PORT`", name)
		}
		text = adminList.ReplaceAllString(text, fmt.Sprintf("${1}, %q]", found[1]))
	}
	e.texts[file] = text
	return nil
}

func (e *edits) addBackend(l *Layout, name string) error {
	address, err := e.copyMember(l, name)
	if err != nil {
		return err
	}
	files := []string{"headgate.yaml"}
	for _, other := range l.Of(Interceptor) {
		files = append(files, filepath.Base(other.Config))
	}
	for _, file := range files {
		text, err := e.read(file)
		if err != nil {
			return err
		}
		if !upstreams.MatchString(text) {
			return fmt.Errorf("%s: no list of the backends' addresses: add %s by hand", file, address)
		}
		e.texts[file] = upstreams.ReplaceAllString(text, fmt.Sprintf("${1}, %q]", address))
	}
	return nil
}
