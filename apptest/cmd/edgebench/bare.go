//go:build unix

package main

import (
	"context"
	"os"

	"github.com/valyala/fasthttp"

	"headgate.example/apptest/measure"
)

// bareCommand makes this program the yardstick itself.
const bareCommand = "bare"

// serveBare answers every request with 200 and two bytes, by fasthttp as it is: no bounds, no time-outs.
func serveBare(address string) error {
	return fasthttp.ListenAndServe(address, func(ctx *fasthttp.RequestCtx) { ctx.SetBodyString("ok") })
}

// startBare starts the yardstick as a process of its own.
func startBare(ctx context.Context, dir string) (*target, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	t := &target{name: "fasthttp"}
	if t.address, err = measure.FreeAddress(); err != nil {
		return nil, err
	}
	p, err := measure.Launch(ctx, t.name, dir, self, bareCommand, t.address)
	if err != nil {
		return nil, err
	}
	t.processes = []*measure.Process{p}
	return t, t.await(ctx)
}
