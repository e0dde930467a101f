package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8090", "where the edges reach the shop")
	shards := flag.String("counter", "127.0.0.1:7380", "the counter's shards, host:port,host:port in the order of their numbers")
	path := flag.String("journal", "orders.jsonl", "the file of orders")
	flag.Parse()
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *listen, *shards, *path); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, listen, shards, path string) error {
	orders, err := openJournal(path)
	if err != nil {
		return err
	}
	defer orders.file.Close() //nolint:errcheck // every line was synced
	s := &shop{
		tickets: map[string]string{"t1": os.Getenv("HEADGATE_TICKET_SECRET")},
		counter: &counter{password: os.Getenv("HEADGATE_COUNTER_CLIENT_PASSWORD"), shards: strings.Split(shards, ","), clients: map[string]*redis.Client{}},
		orders:  orders,
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /shop/{sale}/buy", s.buy)
	mux.HandleFunc("POST /shop/orders/{order}/cancel", s.cancel)
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	server := &http.Server{Addr: listen, Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 90 * time.Second}
	settled := make(chan struct{})
	go func() { defer close(settled); s.settle(ctx) }()
	drained := make(chan error, 1)
	go func() {
		<-ctx.Done()
		drained <- server.Shutdown(context.WithoutCancel(ctx)) // answers what it has begun
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	<-settled
	return <-drained
}
