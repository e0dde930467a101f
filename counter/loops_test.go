package counter_test

import (
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"headgate.example/lib/service/servicetest"
)

// eventLoops is what testConfig asks for. Only TestWithoutLoops changes it, and no test here runs beside others.
var eventLoops = 1

// TestWithoutLoops repeats what is about connections with a goroutine for each, as on systems without epoll.
func TestWithoutLoops(t *testing.T) {
	eventLoops = 0
	defer func() { eventLoops = 1 }()
	for name, test := range map[string]func(*testing.T){
		"protocol errors": TestProtocolErrorsAreAnsweredOnceAndClose, "pipeline": TestPipelineKeepsOrder, "release": TestPipelineSeesItsOwnRelease,
		"passwords": TestPasswords, "too many": TestTooManyConnections, "idle": TestIdleConnectionIsClosed, "slow client": TestSlowClientIsClosed,
		"drain": TestDrain, "replies": TestReplies, "info": TestInfoSections, "many clients": TestManyClientsPipelineTogether,
	} {
		t.Run(name, test)
	}
}

// Each client sends pipelines of all kinds of requests in odd pieces, those that must wait among those that
// need not, and gets each reply in its place.
func TestManyClientsPipelineTogether(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.EventLoops = min(cfg.EventLoops*2, 2)
	s := start(t, cfg)
	dial(t, s.Addr()).open("1", 1_000_000, 0)
	const clients, rounds = 20, 30
	var wg sync.WaitGroup
	for n := range clients {
		c := dial(t, s.Addr())
		wg.Go(func() {
			for round := range rounds {
				var text strings.Builder
				var want []string
				ask := func(reply string, args ...string) {
					text.WriteString(request(args...))
					want = append(want, reply)
				}
				for i := range 1 + (n+round)%40 {
					mark := fmt.Sprint(n, "-", round, "-", i)
					ask(`["reserved"`, "RESERVE", "1", "u"+mark, "1", "")
					ask(strconv.Quote(mark), "ECHO", mark)
					switch i % 7 {
					case 0:
						ask(`["id" "1"`, "SALE.INFO", "1")
					case 1:
						ask(`["no_sale" :0]`, "RESERVE", "nowhere", "u"+mark, "1", "")
					case 2:
						ask("-ERR unknown command 'NONSENSE'", "NONSENSE")
					case 3:
						ask("nil", "ORDER", "4194304")
					case 4:
						ask("-ERR quantity", "RESERVE", "1", "u", "none", "")
					case 5:
						ask("+unknown", "ABORT", "4194304", "no reason")
					}
				}
				go func(all string) {
					for piece := 1 + (n*31+round*17)%977; len(all) > 0; {
						piece = min(piece, len(all))
						if _, err := io.WriteString(c.nc, all[:piece]); err != nil {
							return // the reader sees it
						}
						all = all[piece:]
					}
				}(text.String())
				for i, start := range want {
					got, err := readReply(c.in)
					if err != nil || !strings.HasPrefix(got, start) {
						t.Errorf("client %d, round %d, reply %d: %q (%v), want %s...", n, round, i, got, err, start)
						return
					}
				}
			}
		})
	}
	wg.Wait()
}

// A client that goes away with requests on their way, or in the middle of one, leaves nothing behind.
func TestClientsThatVanish(t *testing.T) {
	s := start(t, testConfig(t.TempDir()))
	dial(t, s.Addr()).open("1", 1_000_000, 0)
	for i := range 200 {
		nc, err := net.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Repeat(request("RESERVE", "1", fmt.Sprint("u", i), "1", ""), 1+i%50)
		if i%3 == 0 {
			text += request("SALE.INFO", "1")
		}
		if _, err := io.WriteString(nc, text[:len(text)-i%11]); err != nil {
			t.Fatal(err)
		}
		if tcp := nc.(*net.TCPConn); i%2 == 0 {
			if err := tcp.SetLinger(0); err != nil { // a reset
				t.Fatal(err)
			}
		}
		nc.Close()
	}
	c := dial(t, s.Addr())
	servicetest.Eventually(t, 30*time.Second, "only one client is left", func() bool {
		return strings.Contains(c.do("INFO", "clients"), `connected_clients:2\r\n`) // with the one that opened the sale
	})
}
