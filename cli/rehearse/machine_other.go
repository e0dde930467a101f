//go:build !linux

package rehearse

import (
	"runtime"
	"time"
)

func kernel() string { return runtime.GOOS }

func memoryBytes() int64 { return 0 } // not told here

func ownCPU() time.Duration { return 0 } // not told here
