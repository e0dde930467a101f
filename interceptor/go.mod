module headgate.example/interceptor

go 1.26.0

replace (
	headgate.example/counter => ../counter
	headgate.example/hashring => ../hashring
	headgate.example/lib => ../lib
)

require (
	github.com/VictoriaMetrics/metrics v1.44.0
	github.com/sony/gobreaker/v2 v2.4.0
	github.com/valyala/fasthttp v1.74.0
	go.uber.org/goleak v1.3.0
	golang.org/x/time v0.16.0
	headgate.example/counter v0.0.0-00010101000000-000000000000
	headgate.example/hashring v0.0.0
	headgate.example/lib v0.0.0
	pgregory.net/rapid v1.3.0
)

require (
	github.com/buraksezer/consistent v1.1.0 // indirect
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/golang-jwt/jwt/v5 v5.3.1 // indirect
	github.com/klauspost/compress v1.20.0 // indirect
	github.com/molecule-man/go-brrr v1.0.1 // indirect
	github.com/redis/rueidis v1.0.79 // indirect
	github.com/valyala/bytebufferpool v1.0.0 // indirect
	github.com/valyala/fastrand v1.1.0 // indirect
	github.com/valyala/histogram v1.2.0 // indirect
	go.yaml.in/yaml/v3 v3.0.6 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)
