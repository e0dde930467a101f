package proxy

import "testing"

func BenchmarkAdmit(b *testing.B) {
	u := New(DefaultConfig("shop", "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"), Options{})
	b.ReportAllocs()
	for b.Loop() {
		a, _, _ := u.Admit()
		a.End()
	}
}

func BenchmarkAdmitParallel(b *testing.B) {
	u := New(DefaultConfig("shop", "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"), Options{})
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			a, _, _ := u.Admit()
			a.End()
		}
	})
}
