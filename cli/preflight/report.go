package preflight

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// Word is the answer to one question.
type Word string

// The words, from best to worst.
const (
	OK   Word = "ok"
	Warn Word = "warn"
	Fail Word = "FAIL"
)

// Line is one question and its answer.
type Line struct {
	Check string `json:"check"` // such as "counter s1" or "database"
	Word  Word   `json:"result"`
	Seen  string `json:"seen"`
	Do    string `json:"do,omitempty"` // what to do about it; empty with ok
}

// Report is the whole.
type Report struct {
	Sale  string    `json:"sale"`
	At    time.Time `json:"at"`
	Took  string    `json:"took"`
	Word  Word      `json:"result"` // the worst of the lines'
	Lines []Line    `json:"lines"`
}

// The exit codes of a program that runs a preflight.
const (
	ExitReady    = 0 // nothing fails; there may be warnings
	ExitNotReady = 1
	ExitUnknown  = 3 // it could not be found out: a wrong config, or an interruption
)

// ExitCode is what a program ends with that printed the report.
func (r *Report) ExitCode() int {
	if r.Word == Fail {
		return ExitNotReady
	}
	return ExitReady
}

func ok(check, format string, args ...any) Line {
	return Line{Check: check, Word: OK, Seen: fmt.Sprintf(format, args...)}
}

func warn(check, do, format string, args ...any) Line {
	return Line{Check: check, Word: Warn, Seen: fmt.Sprintf(format, args...), Do: do}
}

func fail(check, do, format string, args ...any) Line {
	return Line{Check: check, Word: Fail, Seen: fmt.Sprintf(format, args...), Do: do}
}

func worst(lines []Line) Word {
	order := []Word{OK, Warn, Fail}
	found := 0
	for _, l := range lines {
		found = max(found, slices.Index(order, l.Word))
	}
	return order[found]
}

// Write writes the report for people: one line each, and what to do in the same line.
func Write(w io.Writer, r *Report) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	counts := map[Word]int{}
	for _, l := range r.Lines {
		counts[l.Word]++
		do := ""
		if l.Do != "" {
			do = " -> " + oneLine(l.Do)
		}
		fmt.Fprintf(out, "%s\t%s\t%s%s\n", l.Word, oneLine(l.Check), oneLine(l.Seen), do)
	}
	if err := out.Flush(); err != nil {
		return err
	}
	verdict := "ready"
	switch r.Word {
	case Fail:
		verdict = "NOT READY"
	case Warn:
		verdict = "ready, with warnings"
	}
	_, err := fmt.Fprintf(w, "sale %s: %s (%d ok, %d warn, %d FAIL; %s)\n", oneLine(r.Sale), verdict, counts[OK], counts[Warn], counts[Fail], r.Took)
	return err
}

// oneLine makes text of others safe for a terminal's line.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}
