//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"headgate.example/apptest/cluster"
)

// The shifts that are drawn keep all ports below those that the system gives to clients.
const (
	lowestShift  = 11_000
	highestShift = 24_000
	startTries   = 5
	commandTime  = 90 * time.Second // of one command
)

// site is a cluster under measurement.
type site struct {
	*bench
	contest contest
	name    string
	folder  cluster.Folder
	client  *cluster.Client
	state   cluster.State // as it was when all were ready
	env     []string      // of headgate
	tokens  string        // file
}

// startSite starts the cluster without some members.
func (b *bench) startSite(ctx context.Context, c contest, name string, drop func(*cluster.Entry) bool) (_ *site, err error) {
	s := &site{bench: b, contest: c, name: name, tokens: filepath.Join(b.dir, name+"-users.csv"), folder: cluster.Folder{Path: filepath.Join(b.dir, name)}}
	source := filepath.Join(b.dir, name+"-local")
	if err := writeSource(b.source, source, drop, c.kind, c.share); err != nil {
		return nil, err
	}
	if err := s.up(ctx, source); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.stop())
		}
	}()
	s.client = cluster.Dial(s.folder)
	if s.state, err = s.client.State(ctx); err != nil {
		return nil, err
	}
	if s.env, err = s.folder.ReadEnv(); err != nil {
		return nil, err
	}
	s.env = append(append(os.Environ(), s.env...), "HEADGATE_CONFIG="+s.state.OperatorConfig)
	_, err = s.headgate(ctx, "token", "--users", strconv.Itoa(c.users), "--out", s.tokens)
	return s, err
}

// up starts it, on other ports when some are taken. It ends with this process.
func (s *site) up(ctx context.Context, source string) (err error) {
	for range startTries {
		shift := lowestShift + rand.IntN(highestShift-lowestShift)
		_, err = s.command(ctx, "cluster", "up", "--folder", s.folder.Path, "--source", source, "--bin", s.bin,
			"--shift", strconv.Itoa(shift), "--with", strconv.Itoa(os.Getpid()))
		if err == nil || !strings.Contains(err.Error(), "is taken by") {
			return err
		}
		if err := os.RemoveAll(filepath.Join(s.folder.Path, "config")); err != nil {
			return err
		}
	}
	return err
}

// stop ends it, also when ctx has ended. Its data goes, and who has little of a processor would end slowly.
func (s *site) stop() error {
	for _, m := range s.state.Members {
		if m.Kind == s.contest.kind {
			_, _ = s.client.Do(context.Background(), m.Name, "kill", nil) // `down` finds whom it missed
		}
	}
	_, err := s.command(context.Background(), "cluster", "down", "--wipe", "--folder", s.folder.Path)
	return err
}

// headgate runs the operator's program.
func (s *site) headgate(ctx context.Context, args ...string) (string, error) {
	return s.command(ctx, "headgate", args...)
}

func (s *site) command(ctx context.Context, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, program), args...)
	cmd.Env = s.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w\n%s", program, strings.Join(args, " "), err, bytes.TrimSpace(out[max(0, len(out)-2048):]))
	}
	return string(out), err
}
