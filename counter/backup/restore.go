package backup

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"headgate.example/counter"
	"headgate.example/counter/machine"
	"headgate.example/lib/sale"
	"headgate.example/lib/service"
)

// RestoreOptions say where a backup goes.
type RestoreOptions struct {
	// Counter is the config that the shard will run with: its folder, its voters. An empty shard name
	// takes name and number from the backup; any other must be the backup's.
	Counter counter.Config
	// Known and Complete: see machine.RecoverOptions.
	Known    sale.OrderID
	Complete bool
	Now      time.Time
	Log      *slog.Logger
}

// Restored says what was restored.
type Restored struct {
	Header
	machine.Recovered
}

// Restore makes an empty folder a shard's data folder again. It is done offline; the shard is started on
// the folder afterwards. Nothing is written when the backup cannot be read whole or is another shard's.
func Restore(ctx context.Context, path string, o RestoreOptions) (Restored, error) {
	loaded, err := Load(path)
	if err != nil {
		return Restored{}, err
	}
	cfg := o.Counter
	if cfg.Shard.Name == "" {
		cfg.Shard = counter.ShardConfig{Name: loaded.Shard, Number: loaded.Number}
	}
	if cfg.Shard.Name != loaded.Shard || cfg.Shard.Number != loaded.Number {
		return Restored{}, fmt.Errorf("backup %s is of shard %q number %d, not of %q number %d", path, loaded.Shard, loaded.Number, cfg.Shard.Name, cfg.Shard.Number)
	}
	done, err := loaded.State.Recover(machine.RecoverOptions{Wall: o.Now.UnixMilli(), Known: o.Known, Complete: o.Complete})
	if err != nil {
		return Restored{}, err
	}
	if err := counter.Restore(ctx, cfg, service.NewRuntime("counter", o.Log), loaded.State); err != nil {
		return Restored{}, err
	}
	return Restored{Header: loaded.Header, Recovered: done}, nil
}
