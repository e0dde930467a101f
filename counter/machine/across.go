package machine

import "fmt"

// CheckShards holds the rows of all shards of a sale against what must be true across shards, and
// names the first thing that is not. Rows are read one after the other, so it takes two passes, one
// begun after the other had ended: what a shard had taken in the first cannot be more than what the
// other had given by the second. Rows of one moment may be given as both.
func CheckShards(first, second []Collected) error {
	byName := make(map[string]*Collected, len(second))
	for i := range second {
		byName[second[i].Shard] = &second[i]
	}
	for i := range first {
		if err := first[i].check(); err != nil {
			return err
		}
		for _, t := range first[i].Transfers {
			other := byName[t.Peer]
			if other == nil {
				continue
			}
			for _, back := range other.Transfers {
				switch {
				case back.Peer != first[i].Shard:
				case back.Given < t.Taken:
					return fmt.Errorf("shard %s took %d of %s, which gave %d", first[i].Shard, t.Taken, t.Peer, back.Given)
				case back.Taken < t.Acknowledged:
					return fmt.Errorf("shard %s holds for acknowledged %d that it gave to %s, which took %d",
						first[i].Shard, t.Acknowledged, t.Peer, back.Taken)
				}
			}
		}
	}
	return checkStock(first)
}

// checkStock compares the shares of shards that stand at one revision.
func checkStock(rows []Collected) error {
	var alloc, debt int64
	for i := range rows {
		if rows[i].Revision != rows[0].Revision || rows[i].Restoring || len(rows[i].Transfers) != len(rows)-1 {
			return nil
		}
		if rows[i].Stock != rows[0].Stock {
			return fmt.Errorf("at revision %d shard %s has a stock of %d, shard %s of %d", rows[0].Revision,
				rows[0].Shard, rows[0].Stock, rows[i].Shard, rows[i].Stock)
		}
		alloc += rows[i].Alloc
		debt += rows[i].Debt
	}
	if len(rows) > 0 && alloc != rows[0].Stock+debt {
		return fmt.Errorf("the shares sum to %d, not to stock %d + debt %d", alloc, rows[0].Stock, debt)
	}
	return nil
}

func (c *Collected) check() error {
	units := c.Alloc
	for _, t := range c.Transfers {
		units += t.Taken - t.Given
		if t.Taken < 0 || t.Acknowledged < 0 || t.Given < t.Acknowledged {
			return fmt.Errorf("shard %s: a transfer with %s is negative: %+v", c.Shard, t.Peer, t)
		}
	}
	if units != c.Scheduled+c.Available+c.Held+c.Confirmed {
		return fmt.Errorf("shard %s: alloc %d + taken - given is %d, but scheduled %d + available %d + held %d + confirmed %d",
			c.Shard, c.Alloc, units, c.Scheduled, c.Available, c.Held, c.Confirmed)
	}
	if min(c.Alloc, c.Scheduled, c.Available, c.Held, c.Confirmed, c.Debt) < 0 {
		return fmt.Errorf("shard %s: a total is negative: %+v", c.Shard, *c)
	}
	return nil
}
