package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

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
	if file, ok := p.stdin.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		return p.askPassword(int(file.Fd()), prompt)
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

func (p *program) askPassword(terminal int, prompt string) (string, error) {
	var typed [2]string
	for i, words := range []string{prompt, "Once more"} {
		fmt.Fprintf(p.stderr, "%s: ", words)
		password, err := term.ReadPassword(terminal)
		fmt.Fprintln(p.stderr)
		if err != nil {
			return "", fmt.Errorf("reading the password: %w", err)
		}
		typed[i] = string(password)
	}
	if typed[0] != typed[1] {
		return "", errors.New("the two passwords differ: nothing was changed")
	}
	return typed[0], nil
}
