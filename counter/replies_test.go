package counter_test

import (
	"regexp"
	"strings"
	"testing"
)

// TestReplies goes through every command on one connection. ORDER stands for the order of the first
// hold, n+ for any number.
func TestReplies(t *testing.T) {
	s := start(t, testConfig(t.TempDir()))
	c := dial(t, s.Addr())
	order := ""
	for _, step := range []struct{ request, want string }{
		{`PING`, `+PONG`},
		{`PING hello`, `"hello"`},
		{`ping`, `+PONG`},
		{`ECHO "a b"`, `"a b"`},
		{`SELECT 0`, `+OK`},
		{`SELECT 1`, `-ERR DB index is out of range`},
		{`CLIENT SETNAME me`, `+OK`},
		{`CLIENT GETNAME`, `"me"`},
		{`CLIENT ID`, `:n+`},
		{`CLIENT SETINFO LIB-NAME x`, `+OK`},
		{`CLIENT KILL x`, `-ERR unknown subcommand of CLIENT, or wrong number of arguments: want SETNAME, GETNAME, ID, SETINFO, INFO, LIST, NO-EVICT or NO-TOUCH`},
		{`COMMAND COUNT`, `:37`},
		{`COMMAND DOCS`, `[]`},
		{`COMMAND INFO RESERVE nothing`, `[["reserve" :5 [+write] :0 :0 :0] nil]`},
		{`HELLO`, `["server" "headgate-counter" "version" ".*" "proto" :2 "id" :n+ "mode" "standalone" "role" "master" "modules" []]`},
		{`HELLO 2 SETNAME you`, `["server" .*]`},
		{`HELLO 3`, `-NOPROTO unsupported protocol version: this counter speaks version 2`},
		{`HELLO 2 BOGUS`, `-ERR syntax error in HELLO: want HELLO [2 [AUTH user password] [SETNAME name]]`},
		{`AUTH x`, `-ERR AUTH called without any password configured for this counter`},
		{`FOO bar`, `-ERR unknown command 'FOO'`},
		{`SALE.OPENNOSUCHCOMMANDATALL`, `-ERR unknown command 'SALE.OPENNOSUCHCOMMANDATALL'`},
		{`RESERVE 1`, `-ERR wrong number of arguments: RESERVE sale user quantity key`},

		{`RESERVE 1 u1 1 ""`, `["no_sale" :0]`},
		{`SALE.INFO 1`, `nil`},
		{`USER 1 u1`, `nil`},
		{`AUDIT 1`, `nil`},
		{`HOLDS 1 held 0 10`, `nil`},
		{`SALE.LIST`, `[]`},
		{`SALE.PAUSE 1 2`, `-ERR sale: is not known here`},
		{`SALE.OPEN '` + terms("1", 3, 2) + `'`, `+OK`},
		{`SALE.OPEN '` + terms("1", 3, 2) + `'`, `+OK`},
		{`SALE.OPEN '` + terms("1", 4, 2) + `'`, `-CONFLICT revision 1`},
		{`SALE.OPEN {`, `-ERR json: .*`},
		{`SALE.OPEN '{"id":"1","bogus":1}'`, `-ERR json: .*bogus.*`},
		{`RESERVE 1 u1 1 ""`, `["paused" :0]`},
		{`SALE.RESUME 1 2`, `+OK`},
		{`SALE.RESUME 1 2`, `+OK`},
		{`SALE.RESUME 1 9`, `-CONFLICT revision 2`},
		{`SALE.RESUME 1 x`, `-ERR revision: must be a whole number`},
		{`RESERVE 1 u1 0 ""`, `-ERR quantity: must be 1 to 1000, is 0`},
		{`RESERVE 1 u1 many ""`, `-ERR quantity: must be a whole number`},
		{`RESERVE ../x u1 1 ""`, `-ERR sale: .*`},
		{`RESERVE 1 "u 1" 1 ""`, `-ERR user: may hold printable ASCII without spaces only`},
		{`RESERVE 1 u1 1 "k 1"`, `-ERR key: may hold printable ASCII without spaces only`},
		{`RESERVE 1 u1 3 ""`, `["limit" :2]`},
		{`RESERVE 1 u1 1 k1`, `["reserved" "ORDER" "held" :1 :1 :n+]`},
		{`RESERVE 1 u1 1 k1`, `["already" "ORDER" "held" :1 :1 :n+]`},
		{`RESERVE 1 u1 1 k2`, `["reserved" "n+" "held" :1 :2 :n+]`},
		{`RESERVE 1 u1 1 k3`, `["limit" :2]`},
		{`RESERVE 1 u2 2 ""`, `["insufficient" :1]`},
		{`RESERVE 1 u2 1 ""`, `["reserved" "n+" "held" :1 :1 :n+]`},
		{`RESERVE 1 u3 1 ""`, `["sold_out" :3]`},

		{`ORDER ORDER`, `["order" "ORDER" "sale" "1" "user" "u1" "quantity" "1" "slot" "1" "state" "held" "key" "k1" "reserved_at" "n+" "expires_at" "n+" "changed_at" "n+" "reason" ""]`},
		{`ORDER 1`, `nil`},
		{`ORDER 4096`, `-WRONGSHARD number 1`},
		{`ORDER 0`, `-ERR order: .*`},
		{`ORDER -5`, `-ERR order: .*`},
		{`CONFIRM ORDER 1 4096`, `["confirmed" "unknown" "unavailable"]`},
		{`CONFIRM ORDER`, `["confirmed"]`},
		{`CONFIRM x`, `-ERR order: .*`},
		{`ABORT ORDER why`, `+confirmed`},
		{`ABORT 1 why`, `+unknown`},
		{`ABORT 4096 why`, `-WRONGSHARD number 1`},
		{`RELEASE 1 why`, `+unknown`},
		{`USER 1 u1`, `[["order" "ORDER" .*] ["order" .* "state" "held" .*]]`},
		{`USER 1 nobody`, `[]`},
		{`HOLDS 1 confirmed 0 10`, `[["order" "ORDER" .*]]`},
		{`HOLDS 1 confirmed ORDER 10`, `[]`},
		{`HOLDS 1 nothing 0 10`, `-ERR state: must be held, confirmed, released or expired`},
		{`HOLDS 1 held 0 0`, `-ERR limit: must be 1 to 10000`},
		{`HOLDS 1 held -1 1`, `-ERR after: must be an order id, or 0`},
		{`RELEASE ORDER cancelled`, `+released`},
		{`RELEASE ORDER cancelled`, `+already`},
		{`CONFIRM ORDER`, `["released"]`},
		{`ABORT ORDER why`, `+released`},

		{`SALE.STOCK 1 3 5`, `+OK`},
		{`SALE.STOCK 1 3 5`, `+OK`},
		{`SALE.STOCK 1 3 6`, `-CONFLICT revision 3`},
		{`SALE.STOCK 1 4 x`, `-ERR total: must be a whole number`},
		{`SALE.PAUSE 1 4`, `+OK`},
		{`AUDIT 1`, `["shard" "s1" "index" "n+" "id" "1" "revision" "4" "phase" "paused" .* "violation" ""]`},
		{`SALE.INFO 1`, `["id" "1" "revision" "4" .* "stock" "5" .* "alloc" "5" .* "available" "3" "held" "2" "confirmed" "0" .*]`},
		{`SALE.LIST`, `[["id" "1" .*]]`},
		{`SALE.CLOSE 1 5`, `+OK`},
		{`SALE.FORGET 1 6`, `-ERR .*`},

		{`RULES 0`, `["full" :0 :n+ []]`},
		{`BAN user u9 0 "broke the rules"`, `+OK`},
		{`BAN address 192.0.2.7/24 1900000000000 net`, `+OK`},
		{`BAN address nonsense 0 x`, `-ERR value: .*`},
		{`BAN ship u9 0 x`, `-ERR kind: must be user, address or token`},
		{`RULES 0`, `["full" :2 :n+ [["user" "u9" :1 :0 :0 :0 "broke the rules"] ["address" "192.0.2.0/24" :2 :1900000000000 :0 :0 "net"]]]`},
		{`UNBAN user u9`, `+OK`},
		{`REVOKE u5 1767225600000`, `+OK`},
		{`RULES 2`, `["delta" :4 :n+ [["user" "u9" :3 .* :1 ".*"] ["token" "u5" :4 :0 :1767225600000 :0 ""]]]`},
		{`RULES x`, `-ERR since: must be a whole number`},

		{`INFO raft`, `"# Raft\r\nraft_state:leader\r\nraft_serving:1\r\n.*"`},
		{`RESET`, `+RESET`},
		{`QUIT`, `+OK`},
	} {
		c.send(orderWord.ReplaceAllString(step.request, "${1}"+order+"$2") + "\r\n")
		got := c.reply()
		if order == "" && strings.HasPrefix(got, `["reserved"`) {
			order = strings.Trim(strings.Fields(got)[1], `"`)
		}
		if !matches(step.want, got, order) {
			t.Errorf("%s\n got %s\nwant %s", step.request, got, step.want)
		}
	}
}

// orderWord is ORDER as an argument, not as a command.
var orderWord = regexp.MustCompile(`( )ORDER( |$)`)

// matches compares a reply with a pattern, in which ORDER is the known order, n+ any number, .* anything.
func matches(want, got, order string) bool {
	p := regexp.QuoteMeta(want)
	p = strings.NewReplacer(`\.\*`, `.*`, `n\+`, `\d+`, "ORDER", order).Replace(p)
	return regexp.MustCompile("(?s)^" + p + "$").MatchString(got)
}
