package apptest

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"headgate.example/apptest/programs"
)

// TestREADMEsInStep: the Chinese README has the sections of the English one, in the same order, each with the same
// commands, code words, links, figures, table rows and list items. What the sentences between them say is for
// readers to judge.
func TestREADMEsInStep(t *testing.T) {
	english, chinese := readREADME(t, "README.md"), readREADME(t, "README.zh-CN.md")
	for _, difference := range compareREADMEs(english, chinese) {
		t.Error(difference)
	}
	if !strings.Contains(english, "[简体中文](README.zh-CN.md)") || !strings.Contains(chinese, "[English](README.md)") {
		t.Error("the two do not link to each other")
	}
}

// TestREADMEComparison: each kind of neglect is told.
func TestREADMEComparison(t *testing.T) {
	const english = "# A\n\nSee [x](x.md), at most 250 ms.\n\n## B\n\n```sh\nmake run   # starts it\nmake test\n```\n\n| a | b |\n|---|---|\n| `one` | 1 |\n\n- first\n- second\n"
	if differences := compareREADMEs(english, strings.NewReplacer("starts it", "启动", "See", "参见", "at most", "至多", "first", "其一").Replace(english)); len(differences) != 0 {
		t.Errorf("a translation differs: %v", differences)
	}
	for _, c := range []struct{ from, to, want string }{
		{"## B\n", "", "sections"},
		{"## B", "### B", "level"},
		{"make run ", "make start ", "commands"},
		{"make test\n", "", "commands"},
		{"```sh", "```", "commands"},
		{"`one`", "`two`", "code"},
		{"x.md", "y.md", "links"},
		{"250", "500", "figures"},
		{"| `one` | 1 |\n", "| `one` | 1 |\n|  |  |\n", "rows"},
		{"- second\n", "", "rows"},
	} {
		changed := strings.Replace(english, c.from, c.to, 1)
		if differences := strings.Join(compareREADMEs(english, changed), "\n"); !strings.Contains(differences, c.want) {
			t.Errorf("%q instead of %q: told %q, want a word about %s", c.to, c.from, differences, c.want)
		}
	}
}

func readREADME(t *testing.T, name string) string {
	t.Helper()
	root, err := programs.Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// readmeSection is what two languages have in common below one heading.
type readmeSection struct {
	title    string
	level    int
	commands []string // fenced code without comments, its language first; of diagrams only that there is one
	code     map[string]bool
	links    map[string]bool
	figures  map[string]bool
	rows     int // of tables and lists
}

var (
	readmeHeading = regexp.MustCompile(`^(#+) (.*)$`)
	readmeComment = regexp.MustCompile(`(^|\s+)#\s.*$`)
	readmeCode    = regexp.MustCompile("`[^`]+`")
	readmeLink    = regexp.MustCompile(`\]\(([^)]*)\)`)
	readmeFigure  = regexp.MustCompile(`\d+(?:[.,]\d+)*`)
	readmeRow     = regexp.MustCompile(`^(\||- )`)
)

func parseREADME(text string) []*readmeSection {
	section := newREADMESection("(above)", 0)
	sections := []*readmeSection{section}
	language, fenced := "", false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \n")
		switch heading := readmeHeading.FindStringSubmatch(line); {
		case strings.HasPrefix(line, "```"):
			if fenced = !fenced; fenced {
				language = strings.TrimPrefix(line, "```")
				section.commands = append(section.commands, "```"+language)
			}
		case fenced:
			if bare := readmeComment.ReplaceAllString(line, ""); bare != "" && language != "" {
				section.commands = append(section.commands, bare)
			}
		case heading != nil:
			section = newREADMESection(heading[2], len(heading[1]))
			sections = append(sections, section)
		default:
			section.read(line)
		}
	}
	return sections
}

func newREADMESection(title string, level int) *readmeSection {
	return &readmeSection{title: title, level: level, code: map[string]bool{}, links: map[string]bool{}, figures: map[string]bool{}}
}

// read takes a line of prose, of a table or of a list.
func (s *readmeSection) read(line string) {
	if readmeRow.MatchString(line) {
		s.rows++
	}
	for _, word := range readmeCode.FindAllString(line, -1) {
		s.code[word] = true
	}
	for _, link := range readmeLink.FindAllStringSubmatch(line, -1) {
		if !strings.HasPrefix(link[1], "README") {
			s.links[link[1]] = true
		}
	}
	line = readmeLink.ReplaceAllString(readmeCode.ReplaceAllString(line, ""), "")
	for _, figure := range readmeFigure.FindAllString(line, -1) {
		s.figures[figure] = true
	}
}

// compareREADMEs tells, a line each, what one has and the other has not.
func compareREADMEs(english, translated string) []string {
	a, b := parseREADME(english), parseREADME(translated)
	if len(a) != len(b) {
		return []string{fmt.Sprintf("%d sections against %d:\n%v\n%v", len(a), len(b), readmeTitles(a), readmeTitles(b))}
	}
	var differences []string
	for i := range a {
		where := fmt.Sprintf("%q and %q: ", a[i].title, b[i].title)
		differ := func(what string, of, to any) {
			differences = append(differences, fmt.Sprintf("%s%s differ: %v against %v", where, what, of, to))
		}
		if a[i].level != b[i].level {
			differ("level", a[i].level, b[i].level)
		}
		if !slices.Equal(a[i].commands, b[i].commands) {
			differ("commands", strings.Join(a[i].commands, "\n"), strings.Join(b[i].commands, "\n"))
		}
		if a[i].rows != b[i].rows {
			differ("rows of tables and lists", a[i].rows, b[i].rows)
		}
		for _, set := range []struct {
			what string
			a, b map[string]bool
		}{{"code words", a[i].code, b[i].code}, {"links", a[i].links, b[i].links}, {"figures", a[i].figures, b[i].figures}} {
			if !maps.Equal(set.a, set.b) {
				differ(set.what, missingFrom(set.b, set.a), missingFrom(set.a, set.b))
			}
		}
	}
	return differences
}

func readmeTitles(sections []*readmeSection) []string {
	titles := make([]string, 0, len(sections))
	for _, section := range sections {
		titles = append(titles, section.title)
	}
	return titles
}

// missingFrom gives the words of all that are not among those there.
func missingFrom(there, all map[string]bool) []string {
	var words []string
	for word := range all {
		if !there[word] {
			words = append(words, word)
		}
	}
	slices.Sort(words)
	return words
}
