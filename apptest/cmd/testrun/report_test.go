package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"
)

func readAll(t *testing.T, lines ...string) (*summary, string) {
	t.Helper()
	var s summary
	var out bytes.Buffer
	if err := s.read(strings.NewReader(strings.Join(lines, "\n")), &out); err != nil {
		t.Fatal(err)
	}
	return &s, out.String()
}

func TestReportShowsFailuresAndClosingLines(t *testing.T) {
	s, out := readAll(t,
		`{"Action":"output","Package":"p","Test":"TestA","Output":"quiet\n"}`,
		`{"Action":"pass","Package":"p","Test":"TestA"}`,
		`{"Action":"output","Package":"p","Test":"TestB","Output":"what went wrong\n"}`,
		`{"Action":"fail","Package":"p","Test":"TestB"}`,
		`{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}`,
		`{"Action":"fail","Package":"p"}`,
		`{"Action":"output","Package":"q","Output":"ok  \tq\t0.2s\n"}`,
		`{"Action":"pass","Package":"q"}`)
	if strings.Contains(out, "quiet") || !strings.Contains(out, "what went wrong") || !strings.Contains(out, "ok  \tq\t0.2s") {
		t.Errorf("printed:\n%s", out)
	}
	if s.passed != 1 || s.failed != 1 || s.packages != 2 || len(s.failures) != 1 || s.failures[0] != "p TestB" {
		t.Errorf("summary: %+v", s)
	}
	var closing bytes.Buffer
	if code := s.finish(options{}, time.Second, &closing); code != 1 || !strings.Contains(closing.String(), "FAILED: p TestB") {
		t.Errorf("exit code %d, printed:\n%s", code, closing.String())
	}
}

func TestSkippedServiceFailsOnlyInCI(t *testing.T) {
	s, _ := readAll(t,
		`{"Action":"output","Package":"p","Test":"TestA","Output":"    SKIP-SERVICE: HEADGATE_TEST_AMQP_URL is not set\n"}`,
		`{"Action":"skip","Package":"p","Test":"TestA"}`)
	for _, ci := range []bool{false, true} {
		var out bytes.Buffer
		code := s.finish(options{ci: ci}, time.Second, &out)
		if (code != 0) != ci {
			t.Errorf("CI=%v: exit code %d", ci, code)
		}
		if !strings.Contains(out.String(), "!!! 1 SKIP-SERVICE lines") {
			t.Errorf("CI=%v: printed:\n%s", ci, out.String())
		}
	}
}

func TestPackageThatFailsWithoutATestIsNamed(t *testing.T) {
	s, out := readAll(t,
		`{"Action":"output","Package":"p","Output":"panic: boom\n"}`,
		`{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}`,
		`{"Action":"fail","Package":"p"}`,
		`{"ImportPath":"q","Action":"build-output","Output":"q.go:1: no\n"}`,
		`{"ImportPath":"q","Action":"build-fail"}`)
	if len(s.failures) != 2 || s.failures[0] != "p" || !strings.Contains(s.failures[1], "q") {
		t.Errorf("failures: %q", s.failures)
	}
	if !strings.Contains(out, "panic: boom") || !strings.Contains(out, "q.go:1") {
		t.Errorf("printed:\n%s", out)
	}
}

func TestGroups(t *testing.T) {
	packages := []string{"headgate.example/lib/sale", "headgate.example/apptest", "headgate.example/apptest/crowd"}
	with := packageGroups(packages, options{race: "auto", compiler: true})
	if len(with) != 1 || !with[0].race || len(with[0].packages) != 1 {
		t.Errorf("with a compiler: %+v", with)
	}
	without := packageGroups(packages, options{race: "auto"})
	if len(without) != 1 || without[0].race || !strings.Contains(without[0].name, "WITHOUT") {
		t.Errorf("without a compiler: %+v", without)
	}
	if got := apptestOf(packages); len(got) != 2 {
		t.Errorf("apptest: %v", got)
	}
}

func TestMarkedTests(t *testing.T) {
	text := "//go:build !race\n\npackage p\n\nfunc TestMain(m *testing.M) {}\nfunc TestA(t *testing.T) {}\nfunc helper() {}\nfunc TestB2(t *testing.T) {}\n"
	if got := markedTests(text); !slices.Equal(got, []string{"TestA", "TestB2"}) {
		t.Errorf("marked: %v", got)
	}
	if got := markedTests("//go:build linux\n\nfunc TestA(t *testing.T) {}\n"); got != nil {
		t.Errorf("not marked: %v", got)
	}
}
