package voters

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// ReplyError is an error reply, as the counter sent it.
type ReplyError string

func (e ReplyError) Error() string { return string(e) }

// Is reports whether it begins with a code, such as MOVED.
func (e ReplyError) Is(target error) bool {
	code, ok := target.(ReplyError)
	return ok && strings.HasPrefix(string(e), string(code))
}

// Conn is a connection that sends one request and waits for its reply.
type Conn struct {
	nc net.Conn
	in *bufio.Reader
}

// Dial connects within a time.
func Dial(address string, within time.Duration) (*Conn, error) {
	nc, err := net.DialTimeout("tcp", address, within)
	if err != nil {
		return nil, err
	}
	return &Conn{nc: nc, in: bufio.NewReader(nc)}, nil
}

// Close ends the connection.
func (c *Conn) Close() error { return c.nc.Close() }

// Do sends a request and waits for its reply: string, int64, []any, nil. An error reply is a
// ReplyError; after any other error the connection is of no more use.
func (c *Conn) Do(within time.Duration, args ...string) (any, error) {
	if err := c.nc.SetDeadline(time.Now().Add(within)); err != nil {
		return nil, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := io.WriteString(c.nc, b.String()); err != nil {
		return nil, err
	}
	return c.read()
}

const maxReplyBytes = 1 << 20

func (c *Conn) read() (any, error) {
	line, err := c.in.ReadString('\n')
	if err != nil {
		return nil, err
	}
	line = strings.TrimSuffix(line, "\r\n")
	if line == "" {
		return nil, errors.New("an empty line")
	}
	switch line[0] {
	case '+':
		return line[1:], nil
	case '-':
		return nil, ReplyError(line[1:])
	case ':':
		return strconv.ParseInt(line[1:], 10, 64)
	}
	n, err := strconv.Atoi(line[1:])
	switch {
	case err != nil || n > maxReplyBytes:
		return nil, fmt.Errorf("not a reply: %.40q", line)
	case n < 0:
		return nil, nil
	case line[0] == '$':
		text := make([]byte, n+2)
		_, err := io.ReadFull(c.in, text)
		return string(text[:n]), err
	}
	list := make([]any, n)
	for i := range list {
		if list[i], err = c.read(); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// Fields reads a flat field/value array.
func Fields(reply any) map[string]string {
	list, _ := reply.([]any)
	fields := make(map[string]string)
	for i := 0; i+1 < len(list); i += 2 {
		fields[fmt.Sprint(list[i])] = fmt.Sprint(list[i+1])
	}
	return fields
}
