module headgate.example/interceptor

go 1.26.0

replace (
	headgate.example/counter => ../counter
	headgate.example/hashring => ../hashring
	headgate.example/lib => ../lib
)

require (
	github.com/VictoriaMetrics/metrics v1.44.0 // indirect
	github.com/klauspost/compress v1.20.0 // indirect
	github.com/molecule-man/go-brrr v1.0.1 // indirect
	github.com/valyala/bytebufferpool v1.0.0 // indirect
	github.com/valyala/fasthttp v1.74.0 // indirect
	github.com/valyala/fastrand v1.1.0 // indirect
	github.com/valyala/histogram v1.2.0 // indirect
	go.uber.org/goleak v1.3.0 // indirect
	golang.org/x/sys v0.47.0 // indirect
	golang.org/x/time v0.16.0 // indirect
)
