//go:build !linux

// Cluster runs Headgate as separate processes on one machine; on Linux only.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "cluster: needs Linux (/proc, control groups, nftables); `make run` runs everything in one process anywhere")
	os.Exit(1)
}
