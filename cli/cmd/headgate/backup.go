package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"headgate.example/cli"
	"headgate.example/counter"
	"headgate.example/counter/backup"
	"headgate.example/counter/client"
	"headgate.example/lib/sale"
)

// backupTimeout bounds one step of a backup, not the whole.
const backupTimeout = client.MaxTimeout

func (p *program) counterCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "counter",
		Short: "See and change the voters of the counter's shards; back a shard up, and bring one back",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(p.votersCommand(), p.addVoterCommand(), p.removeVoterCommand(), p.backupCommand(), p.restoreCommand())
	return cmd
}

func (p *program) backupCommand() *cobra.Command {
	var shard, out string
	cmd := &cobra.Command{
		Use:   "backup --shard NAME --out FILE",
		Short: "Copy a running shard's state to a file, while it sells",
		Long: "Copy the state of a running shard to a new file, as it is after everything that was acknowledged\n" +
			"before. Selling goes on. The file is read once before it gets its name.",
		Example: "  headgate counter backup --shard s1 --out s1-monday.backup",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if shard == "" || out == "" {
				return usage("--shard and --out: name the shard and the file; see `%s --help`", cmd.CommandPath())
			}
			cfg, err := p.load()
			if err != nil {
				return err
			}
			at := cfg.Backend.Counter
			at.Timeout = backupTimeout
			c, err := client.Open(at)
			if err != nil {
				return &exitError{exitUsage, err}
			}
			defer c.Close()
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			h, err := backup.Take(ctx, c, shard, out, time.Now())
			if err != nil {
				return fmt.Errorf("backing up shard %s: %w", shard, err)
			}
			fmt.Fprintf(p.stdout, "%s: shard %s (number %d) up to log entry %d, %d bytes of state, read back and found whole\n", out, h.Shard, h.Number, h.Applied, h.Size)
			return nil
		},
	}
	cmd.Flags().StringVar(&shard, "shard", "", "`name` of the shard")
	cmd.Flags().StringVar(&out, "out", "", "`file` to write; it must not be there yet")
	return cmd
}

func (p *program) restoreCommand() *cobra.Command {
	var in, dir, shard, floor string
	var complete bool
	cmd := &cobra.Command{
		Use:   "restore --in FILE --data-dir DIR",
		Short: "Make an empty folder a shard's data folder again, from a backup",
		Long: "Make an empty folder a shard's data folder again, offline. --config names the config that the counter\n" +
			"will run with, its own file or one with a counter section: name and number of the shard must be the backup's.\n" +
			"With several voters it is done for one of them, while the others run on empty folders.\n\n" +
			"What the shard decided after the backup is not in it. So later order ids begin an hour ahead of the clock\n" +
			"and above --id-floor, and every sale stands still until SALE.RESTORE has rebuilt it from the ledger.\n" +
			"With --complete, which says that the shard decided nothing after the backup, sales are only paused.",
		Example: "  headgate counter restore --in s1-monday.backup --data-dir data/counter --id-floor 383002738401218560",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if in == "" || dir == "" {
				return usage("--in and --data-dir: name the backup and the folder; see `%s --help`", cmd.CommandPath())
			}
			o := backup.RestoreOptions{Counter: counter.DefaultConfig(), Complete: complete, Now: time.Now(), Log: slog.New(slog.NewTextHandler(p.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))}
			o.Counter.Shard, o.Counter.RaftListen = counter.ShardConfig{}, ""
			if p.configFile != "" {
				var err error
				if o.Counter, err = cli.LoadCounterConfig(p.configFile); err != nil {
					return &exitError{exitUsage, err}
				}
			}
			o.Counter.DataDir = dir
			if floor != "" {
				id, err := sale.ParseOrderID(floor)
				if err != nil {
					return usage("--id-floor: %v", err)
				}
				o.Known = id
			}
			return p.restoreBackup(cmd.Context(), in, shard, o)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&in, "in", "", "the backup's `file`")
	flags.StringVar(&dir, "data-dir", "", "`folder` to make; empty or not there yet")
	flags.StringVar(&shard, "shard", "", "refuse the backup of any other shard than the one of this `name`")
	flags.StringVar(&floor, "id-floor", "", "the highest order `id` of this shard in ledger and queue")
	flags.BoolVar(&complete, "complete", false, "the shard decided nothing after the backup")
	return cmd
}

func (p *program) restoreBackup(ctx context.Context, in, shard string, o backup.RestoreOptions) error {
	if shard != "" {
		loaded, err := backup.Load(in)
		if err != nil {
			return err
		}
		if loaded.Shard != shard {
			return fmt.Errorf("--shard: backup %s is of shard %q, not of %q", in, loaded.Shard, shard)
		}
	}
	done, err := backup.Restore(ctx, in, o)
	if err != nil {
		if errors.Is(err, os.ErrPermission) {
			return fmt.Errorf("restoring (as the user that the counter runs as?): %w", err)
		}
		return fmt.Errorf("restoring: %w", err)
	}
	fmt.Fprintf(p.stdout, "%s: shard %s (number %d) as it was at %s, log entry %d\n", o.Counter.DataDir, done.Shard, done.Number, done.TakenAt.Format(time.RFC3339), done.Applied)
	fmt.Fprintf(p.stdout, "order ids go on above %s\n", done.Floor)
	switch {
	case len(done.Stopped) == 0:
		fmt.Fprintln(p.stdout, "no sales")
	case o.Complete:
		fmt.Fprintf(p.stdout, "paused, to be resumed: sales %s\n", strings.Join(done.Stopped, ", "))
	default:
		fmt.Fprintf(p.stdout, "paused, and kept so until SALE.RESTORE rebuilds them from the ledger: sales %s\n", strings.Join(done.Stopped, ", "))
	}
	return nil
}
