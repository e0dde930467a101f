package client_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkReserve is durable reservations of 64 callers over two connections, on this machine's disk.
func BenchmarkReserve(b *testing.B) {
	s := start(b, serverConfig(b.TempDir(), "127.0.0.1:0"))
	cfg := clientConfig(s.Addr())
	cfg.Timeout = 20 * time.Second
	c := open(b, cfg)
	for _, bench := range []struct {
		name  string
		stock int64
	}{{"held", 1_000_000_000}, {"sold out", 0}} {
		b.Run(bench.name, func(b *testing.B) {
			id := fmt.Sprintf("%d-%d", bench.stock, b.N)
			openSale(b, c, id, bench.stock, 1)
			var next atomic.Int64
			b.SetParallelism(32) // of 2 processors: 64 callers
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if r, err := c.Reserve(b.Context(), id, fmt.Sprintf("u%d", next.Add(1)), 1, ""); err != nil || r.Refused() != (bench.stock == 0) {
						b.Errorf("%+v, %v", r, err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "reservations/s")
		})
	}
}
