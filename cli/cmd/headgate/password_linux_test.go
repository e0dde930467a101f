package main

import (
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"headgate.example/lib/service/servicetest"
)

// terminal opens a terminal: the side of who types, and that of the program.
func terminal(t *testing.T) (typist, program *os.File) {
	t.Helper()
	typist, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	t.Cleanup(func() { typist.Close() })
	number, err := unix.IoctlGetInt(int(typist.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(typist.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprint("/dev/pts/", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return typist, program
}

// A password is asked for twice and not shown; after Ctrl-C the terminal shows again what is typed.
func TestPasswordOfATerminal(t *testing.T) {
	others := goleak.IgnoreCurrent()
	typist, side := terminal(t)
	fd := int(side.Fd())
	state := func() *term.State {
		s, err := term.GetState(fd)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	before := state()
	type answer struct {
		password string
		err      error
	}
	ask := func() chan answer {
		p := &program{stdin: side, stderr: io.Discard, getenv: func(string) string { return "" }}
		answers := make(chan answer, 1)
		go func() {
			password, err := p.readPassword("Password of ann")
			answers <- answer{password, err}
		}()
		servicetest.Eventually(t, 30*time.Second, "nothing is shown", func() bool { return !reflect.DeepEqual(state(), before) })
		return answers
	}
	answers := ask()
	if _, err := typist.WriteString("correct horse\ncorrect horse\n"); err != nil {
		t.Fatal(err)
	}
	if a := <-answers; a.err != nil || a.password != "correct horse" {
		t.Errorf("typed twice: %q, %v", a.password, a.err)
	}
	answers = ask()
	if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if a := <-answers; a.err == nil || !strings.Contains(a.err.Error(), "interrupted") {
		t.Errorf("after Ctrl-C: %q, %v", a.password, a.err)
	}
	if !reflect.DeepEqual(state(), before) {
		t.Error("after Ctrl-C the terminal is not as it was")
	}
	if _, err := typist.WriteString("\n"); err != nil {
		t.Fatal(err)
	}
	servicetest.Eventually(t, 30*time.Second, "what waited for a line has ended", func() bool { return goleak.Find(others) == nil })
}
