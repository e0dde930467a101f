//go:build simbroken_wall

package machine

import "headgate.example/lib/sale"

// holdTime breaks the rule on purpose: holds expire by the wall clock. The simulation must notice.
func holdTime(wall, _ int64) int64 { return wall - sale.EpochMillis }
