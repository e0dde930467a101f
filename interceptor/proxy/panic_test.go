package proxy

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// A panic on the way to an address gives its place back: those who contain it go on serving.
func TestAPanicGivesThePlaceBack(t *testing.T) {
	u := pool(t, 1, func(c *Config) { c.MaxInFlight, c.MaxWait = 1, time.Millisecond })
	panics, dials := true, 0
	u.backends[0].lanes[Orders].client.DialTimeout = func(string, time.Duration) (net.Conn, error) {
		dials++
		if panics {
			panic("made up")
		}
		return nil, ErrNotSent
	}
	for _, want := range []bool{true, false} {
		panics = want
		func() {
			defer func() {
				if fault := recover(); (fault != nil) != want {
					t.Errorf("panic %v, want one: %t", fault, want)
				}
			}()
			var req fasthttp.Request
			var resp fasthttp.Response
			a := u.admitted(t)
			defer a.End()
			if err := u.DoOrder(&a, &req, &resp, time.Second); !errors.Is(err, ErrNotSent) {
				t.Errorf("got %v", err)
			}
		}()
	}
	if n := u.backends[0].load(); n != 0 || dials != 2 {
		t.Errorf("%d requests under way, want none; %d reached the address, want 2", n, dials)
	}
}
