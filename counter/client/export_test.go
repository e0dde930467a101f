package client

import (
	"context"
	"net"
)

// WithDial makes a client connect as dial does.
func WithDial(dial func(ctx context.Context, address string) (net.Conn, error)) Option {
	return func(c *Client) {
		c.dial = func(ctx context.Context, _ *net.Dialer, address string) (net.Conn, error) { return dial(ctx, address) }
	}
}
