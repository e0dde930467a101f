package counter

import (
	"context"
	"fmt"

	"headgate.example/counter/machine"
	"headgate.example/counter/replica"
	"headgate.example/lib/service"
)

// Restore makes cfg's empty data folder the folder of this shard with this state, offline and once. With
// several voters it is done for one of them; the others start on empty folders.
func Restore(ctx context.Context, cfg Config, rt *service.Runtime, state *machine.State) error {
	if err := replica.Restore(ctx, cfg.replica(rt), state); err != nil {
		return fmt.Errorf("counter shard %s: %w", cfg.Shard.Name, err)
	}
	return nil
}
