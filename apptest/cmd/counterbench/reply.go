//go:build unix

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// readReply reads one reply and gives its text.
func readReply(from io.Reader) (string, error) { return readElement(bufio.NewReader(from)) }

func readElement(in *bufio.Reader) (string, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return "", err
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", errors.New("an empty reply")
	}
	kind, text := line[0], line[1:]
	switch kind {
	case '+', ':':
		return text, nil
	case '-':
		return "", errors.New(text)
	}
	n, err := strconv.Atoi(text)
	if err != nil || n > 1<<20 {
		return "", fmt.Errorf("reply %q is not understood", line)
	}
	switch {
	case n < 0:
		return "", nil
	case kind == '$':
		bulk := make([]byte, n+2)
		_, err := io.ReadFull(in, bulk)
		return string(bulk[:n]), err
	}
	var elements []string
	for range n {
		element, err := readElement(in)
		if err != nil {
			return "", err
		}
		elements = append(elements, element)
	}
	return strings.Join(elements, " "), nil
}
