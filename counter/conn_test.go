package counter

import (
	"bufio"
	"bytes"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"headgate.example/lib/service"
)

// A stranger who keeps talking must not keep a place among the connections.
func TestTalkingStrangerIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := DefaultConfig()
		cfg.ClientPassword, cfg.OperatorPassword = "client", "operator"
		rt := service.NewRuntime("counter", nil)
		s := &Server{cfg: cfg, rt: rt, meter: newMeter(rt.Metrics), commands: commandTable(0)}
		near, far := net.Pipe()
		served := make(chan struct{})
		go func() {
			defer close(served)
			newHandler(s, far).serve()
		}()
		began, in := time.Now(), bufio.NewReader(near)
		for range 5 {
			if _, err := near.Write([]byte("RESET\r\n")); err != nil {
				break
			}
			if _, err := in.ReadString('\n'); err != nil {
				break
			}
			<-time.After(strangerTimeout - time.Second)
		}
		if took := time.Since(began); took > 2*strangerTimeout {
			t.Errorf("a stranger who talks was still served after %s", took)
		}
		near.Close()
		<-served
	})
}

// Once replies can no longer be delivered, the rest of what was sent is not worked on.
func TestGoneClientIsNotServedFurther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := service.NewRuntime("counter", nil)
		s := &Server{cfg: DefaultConfig(), rt: rt, meter: newMeter(rt.Metrics), commands: commandTable(0)}
		near, far := net.Pipe()
		served := make(chan struct{})
		go func() {
			defer close(served)
			newHandler(s, far).serve()
		}()
		const sent = 1000 // replies of over 1 KiB each, requests that fit into one read
		if _, err := near.Write(bytes.Repeat([]byte("COMMAND\r\n"), sent)); err != nil {
			t.Fatal(err)
		}
		near.Close()
		<-served
		if n := s.meter.requests.Get(); n > sent/2 {
			t.Errorf("%d of %d requests were answered to nobody", n, sent)
		}
	})
}
