//go:build linux

package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"headgate.example/apptest/cluster"
)

// writeSource copies a cluster's config files without some members, wherever they are named, and holds those of
// a kind to a share of a processor.
func writeSource(from, to string, drop func(*cluster.Entry) bool, kind string, share float64) error {
	layout, err := cluster.ReadLayout(from)
	if err != nil {
		return err
	}
	var gone []*regexp.Regexp
	dropped := make(map[string]bool) // config files
	for i := range layout.Members {
		if e := &layout.Members[i]; drop(e) {
			gone = append(gone, tracesOf(e)...)
			dropped[filepath.Base(e.Config)] = true
		}
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	files, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, file := range files {
		if !file.Type().IsRegular() || dropped[file.Name()] {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(from, file.Name()))
		if err != nil {
			return err
		}
		text := string(raw)
		for _, trace := range gone {
			text = trace.ReplaceAllString(text, "")
		}
		if file.Name() == cluster.LayoutFile {
			entry := regexp.MustCompile(`(?m)^(  - \{ name: ` + kind + `-.*?)( \}.*)$`)
			text = entry.ReplaceAllString(text, fmt.Sprintf("${1}, cpu: %g${2}", share))
		}
		if err := os.WriteFile(filepath.Join(to, file.Name()), []byte(text), 0o600); err != nil {
			return err
		}
	}
	_, err = cluster.ReadLayout(to)
	return err
}

// tracesOf are the lines by which a member is named: its entry, those of peers and clients, and of nginx.
func tracesOf(e *cluster.Entry) []*regexp.Regexp {
	name := e.Name
	if e.Kind == cluster.Counter {
		name = e.Shard
	}
	traces := []*regexp.Regexp{
		regexp.MustCompile(`(?m)^ *- \{ name: ` + e.Name + `, .*\n`),
		regexp.MustCompile(`(?m)^ *- \{ name: ` + name + `, (?:number|address).*\n`),
	}
	if e.Kind == cluster.Backend { // in lists of addresses, not as the first
		traces = append(traces, regexp.MustCompile(`, "`+regexp.QuoteMeta(e.Address())+`"`))
	}
	if e.Kind == cluster.Interceptor {
		number := strings.TrimPrefix(e.Name, cluster.Interceptor+"-")
		_, port, _ := net.SplitHostPort(e.Address())
		traces = append(traces,
			regexp.MustCompile(`(?m)^ *`+e.Name+` +headgate_`+number+`;\n`),
			regexp.MustCompile(`(?ms)^ *upstream headgate_`+number+` \{\n.*?^ *\}\n`),
			regexp.MustCompile(`(?m)^ *server 127\.0\.0\.1:`+port+` .*\n`))
	}
	return traces
}
