package interceptor

import (
	"testing"
	"time"

	"headgate.example/lib/sale"
)

// However seldom the state is fetched, nobody is told sold_out from what is older than half a second.
func TestSoldOutIsNotBelievedForLong(t *testing.T) {
	e := newEdge(t, func(c *Config) { c.PollInterval, c.StateMaxAge = 10*time.Second, 20*time.Second })
	now := e.clock.Now()
	e.server.sales.Apply([]sale.Info{{ID: "1", Stock: 1, Confirmed: 1, OpensAt: now.UnixMilli()}}, e.server.mono(now))
	e.refused(e.buy("a1"), 409, "sold_out")
	e.clock.advance(600 * time.Millisecond) // meanwhile units came back
	e.accepted(e.buy("a2"))
}
