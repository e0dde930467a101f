package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/term"
)

// passwordVariable is the environment variable that a password is read from.
const passwordVariable = "HEADGATE_ACCOUNT_PASSWORD"

// maxPasswordLine bounds what is read of standard input.
const maxPasswordLine = 4096

// readPassword reads a password from the environment, the terminal (twice, and not shown), or the first line of
// standard input. What a password must be is not its business.
func (p *program) readPassword(prompt string) (string, error) {
	if password := p.getenv(passwordVariable); password != "" {
		return password, nil
	}
	if file, ok := p.stdin.(*os.File); ok {
		if terminal := int(file.Fd()); term.IsTerminal(terminal) {
			return p.askPassword(terminal, prompt)
		}
	}
	if p.stdin == nil {
		return "", usage("password: set %s, or give it on standard input", passwordVariable)
	}
	line, err := bufio.NewReader(io.LimitReader(p.stdin, maxPasswordLine)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("reading the password: %w", err)
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", usage("password: standard input has none; set %s, or give it as the first line", passwordVariable)
	}
	return line, nil
}

// askPassword asks for a password twice. Whoever gives up with Ctrl-C finds his terminal as it was.
func (p *program) askPassword(terminal int, prompt string) (string, error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	before, err := term.GetState(terminal)
	if err != nil {
		return "", fmt.Errorf("reading the password: %w", err)
	}
	defer term.Restore(terminal, before) //nolint:errcheck // it is as it was, or gone
	var typed [2]string
	for i, words := range []string{prompt, "Once more"} {
		fmt.Fprintf(p.stderr, "%s: ", words)
		typed[i], err = readHidden(ctx, terminal)
		fmt.Fprintln(p.stderr)
		if err != nil {
			return "", fmt.Errorf("reading the password: %w", err)
		}
	}
	if typed[0] != typed[1] {
		return "", errors.New("the two passwords differ: nothing was changed")
	}
	return typed[0], nil
}

// readHidden reads a line that is not shown. What waits for a line when the context ends cannot be called back: it
// ends with the program.
func readHidden(ctx context.Context, terminal int) (string, error) {
	type answer struct {
		line []byte
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		line, err := term.ReadPassword(terminal)
		answers <- answer{line, err}
	}()
	select {
	case a := <-answers:
		return string(a.line), a.err
	case <-ctx.Done():
		return "", errors.New("interrupted: nothing was changed")
	}
}
