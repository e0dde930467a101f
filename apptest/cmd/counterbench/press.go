//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// pressDepth is how many requests of a connection are under way together.
const pressDepth = 16

// press is a crowd at shards: each connection sends the reservations of its users in batches, and reads
// their answers before the next one.
type press struct {
	sale  string
	until int64 // units; the crowd leaves when that many are sold. 0: no end

	began time.Time
	sold  atomic.Int64
	ended atomic.Int64 // nanoseconds after began, when until was reached
}

// part is the connections to one shard, and the users that belong there.
type part struct {
	addr        string
	connections int
	users       []uint32
}

// outcome is what a crowd was told, and how long it pressed.
type outcome struct {
	codes map[string]int64 // refusals and errors by their first word
	took  time.Duration
}

func (o *outcome) decided() int64 {
	return o.codes["reserved"] + o.codes["sold_out"]
}

// run lets the crowd press for a time, or until the units are sold. Each user presses once.
func (p *press) run(ctx context.Context, parts []part, within time.Duration) (*outcome, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	var failure error
	all := &outcome{codes: make(map[string]int64)}
	var everybody sync.WaitGroup
	p.began = time.Now()
	for _, at := range parts {
		for i := range at.connections {
			mine := at.users[i*len(at.users)/at.connections : (i+1)*len(at.users)/at.connections]
			everybody.Go(func() {
				codes, err := p.connection(ctx, at.addr, mine, p.began.Add(within))
				mu.Lock()
				defer mu.Unlock()
				for code, n := range codes {
					all.codes[code] += n
				}
				if err != nil && ctx.Err() == nil {
					failure = err
					cancel()
				}
			})
		}
	}
	everybody.Wait()
	if all.took = time.Duration(p.ended.Load()); all.took == 0 {
		all.took = time.Since(p.began)
	}
	return all, errors.Join(failure, context.Cause(ctx))
}

// connection lets its users press, one batch after the other.
func (p *press) connection(ctx context.Context, addr string, users []uint32, deadline time.Time) (map[string]int64, error) {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if err := conn.SetDeadline(deadline.Add(startWithin)); err != nil {
		return nil, err
	}
	in, counts := bufio.NewReaderSize(conn, 16<<10), newCodes()
	head := reservation(p.sale)
	var out []byte
	for len(users) > 0 && ctx.Err() == nil && p.ended.Load() == 0 && time.Now().Before(deadline) {
		n := min(pressDepth, len(users))
		out = reservations(out[:0], head, users[:n])
		users = users[n:]
		if _, err := conn.Write(out); err != nil {
			return nil, err
		}
		before := counts.reserved
		for range n {
			if err := counts.read(in); err != nil {
				return nil, err
			}
		}
		p.count(counts.reserved - before)
	}
	return counts.all(), nil
}

// reservation is how a request for a unit begins, up to the user's number.
func reservation(sale string) string {
	return fmt.Sprintf("*5\r\n$7\r\nRESERVE\r\n$%d\r\n%s\r\n$11\r\nu", len(sale), sale)
}

func reservations(out []byte, head string, users []uint32) []byte {
	for _, user := range users {
		out = append(out, head...)
		out = strconv.AppendUint(out, 1_000_000_000+uint64(user), 10) // ten digits
		out = append(out, "\r\n$1\r\n1\r\n$0\r\n\r\n"...)
	}
	return out
}

// count notes sold units, and ends the crowd with the last one.
func (p *press) count(units int64) {
	if p.sold.Add(units) >= p.until && p.until > 0 {
		p.ended.CompareAndSwap(0, int64(time.Since(p.began)))
	}
}

// codes counts answers by their code, the most frequent ones without a map.
type codes struct {
	reserved, soldOut int64
	others            map[string]int64
}

func newCodes() *codes { return &codes{others: make(map[string]int64)} }

func (c *codes) all() map[string]int64 {
	all := maps.Clone(c.others)
	all["reserved"] += c.reserved
	all["sold_out"] += c.soldOut
	return all
}

// read takes one answer to RESERVE.
func (c *codes) read(in *bufio.Reader) error {
	code, err := answer(in)
	switch {
	case err != nil:
		return err
	case code == "reserved":
		c.reserved++
	case code == "sold_out":
		c.soldOut++
	default:
		c.others[code]++
	}
	return nil
}

// answer reads one answer to RESERVE and gives its code, or the first word of an error.
func answer(in *bufio.Reader) (string, error) {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return "", err
	}
	switch {
	case line[0] == '-':
		word, _, _ := bytes.Cut(bytes.TrimSpace(line[1:]), []byte(" "))
		return string(word), nil
	case string(line) != "*2\r\n" && string(line) != "*6\r\n":
		return "", fmt.Errorf("%q answers a reservation", line)
	}
	elements := int(line[1] - '0')
	text, err := element(in)
	code := common(text)
	for ; elements > 1 && err == nil; elements-- {
		_, err = element(in)
	}
	return code, err
}

// common gives a code as a string; the frequent ones cost nothing.
func common(code []byte) string {
	for _, known := range [...]string{"reserved", "sold_out"} {
		if string(code) == known {
			return known
		}
	}
	return string(code)
}

// element reads a number or a bulk string, valid until the next read.
func element(in *bufio.Reader) ([]byte, error) {
	line, err := in.ReadSlice('\n')
	if err != nil || line[0] != '$' {
		return bytes.TrimSpace(line), err
	}
	n, err := strconv.Atoi(string(bytes.TrimSpace(line[1:])))
	if err != nil || n < 0 || n > 1<<10 {
		return nil, fmt.Errorf("%q answers a reservation", line)
	}
	text, err := in.Peek(n + 2)
	if err != nil {
		return nil, err
	}
	_, err = in.Discard(n + 2) // what was peeked at stays until the next read
	return text[:n], err
}

// sortUsers tells which users are those of the shard at addr and which are not. It asks for a unit of
// an unopened sale of two shards for each of them.
func sortUsers(addr, sale string, count uint32) ([][]uint32, error) {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(startWithin)); err != nil {
		return nil, err
	}
	sorted := make([][]uint32, 2)
	in, head := bufio.NewReader(conn), reservation(sale)
	for first := uint32(0); first < count; first += pressDepth {
		batch := make([]uint32, min(pressDepth, count-first))
		for i := range batch {
			batch[i] = first + uint32(i)
		}
		if _, err := conn.Write(reservations(nil, head, batch)); err != nil {
			return nil, err
		}
		for _, user := range batch {
			switch code, err := answer(in); {
			case err != nil:
				return nil, err
			case code == "paused":
				sorted[0] = append(sorted[0], user)
			case code == "WRONGSHARD":
				sorted[1] = append(sorted[1], user)
			default:
				return nil, fmt.Errorf("an unopened sale answers %s", code)
			}
		}
	}
	return sorted, nil
}
