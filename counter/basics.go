package counter

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"maps"
	"slices"
	"strings"

	"headgate.example/lib/service"
)

// The commands that every client of the protocol expects, as far as they need them here.

func answerPing(c *conn, args [][]byte) {
	if len(args) == 2 {
		c.out.Bulk(string(args[1]))
		return
	}
	c.out.Simple("PONG")
}

func answerEcho(c *conn, args [][]byte) { c.out.Bulk(string(args[1])) }

func answerSelect(c *conn, args [][]byte) {
	if string(args[1]) != "0" {
		c.out.Error("ERR DB index is out of range")
		return
	}
	c.out.Simple("OK")
}

func answerQuit(c *conn, _ [][]byte) {
	c.out.Simple("OK")
	c.quit = true
}

func answerReset(c *conn, _ [][]byte) {
	c.name = ""
	if c.srv.cfg.OperatorPassword != "" {
		c.become(stranger)
	}
	c.out.Simple("RESET")
}

const wrongPassword = "WRONGPASS invalid username-password pair or user is disabled."

func answerAuth(c *conn, args [][]byte) {
	user := "default"
	if len(args) == 3 {
		user = string(args[1])
	}
	if c.srv.cfg.OperatorPassword == "" {
		c.out.Error("ERR AUTH called without any password configured for this counter")
		return
	}
	if !c.authenticate(user, args[len(args)-1]) {
		c.out.Error(wrongPassword)
		return
	}
	c.out.Simple("OK")
}

// authenticate accepts the users client and operator, and default, for whom the password decides.
func (c *conn) authenticate(user string, password []byte) bool {
	isClient := same(password, c.srv.cfg.ClientPassword.Reveal()) && (user == "default" || user == "client")
	isOperator := same(password, c.srv.cfg.OperatorPassword.Reveal()) && (user == "default" || user == "operator")
	switch {
	case isOperator:
		c.become(operator)
	case isClient:
		c.become(client)
	default:
		c.srv.meter.wrongAuth.Inc()
		c.wrongPasswords++
		c.quit = c.wrongPasswords >= maxWrongPasswords
		return false
	}
	c.wrongPasswords = 0
	return true
}

// same takes the same time wherever the two differ, and however long they are.
func same(given []byte, password string) bool {
	a, b := sha256.Sum256(given), sha256.Sum256([]byte(password))
	return password != "" && subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

func answerHello(c *conn, args [][]byte) {
	if len(args) > 1 && string(args[1]) != "2" {
		c.out.Error("NOPROTO unsupported protocol version: this counter speaks version 2")
		return
	}
	name := c.name
	for i := 2; i < len(args); {
		switch word := strings.ToUpper(string(args[i])); {
		case word == "AUTH" && i+2 < len(args):
			if c.srv.cfg.OperatorPassword != "" && !c.authenticate(string(args[i+1]), args[i+2]) {
				c.out.Error(wrongPassword)
				return
			}
			i += 3
		case word == "SETNAME" && i+1 < len(args):
			name = shorten(args[i+1])
			i += 2
		default:
			c.out.Error("ERR syntax error in HELLO: want HELLO [2 [AUTH user password] [SETNAME name]]")
			return
		}
	}
	if c.role == stranger {
		c.out.Error("NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used")
		return
	}
	c.name = name
	c.out.Array(14)
	for _, pair := range [...][2]string{{"server", "headgate-counter"}, {"version", service.Version()}} {
		c.out.Bulk(pair[0])
		c.out.Bulk(pair[1])
	}
	c.out.Bulk("proto")
	c.out.Int(2)
	c.out.Bulk("id")
	c.out.Int(c.id)
	c.out.Bulk("mode")
	c.out.Bulk("standalone")
	c.out.Bulk("role")
	c.out.Bulk(c.srv.roleWord())
	c.out.Bulk("modules")
	c.out.Array(0)
}

func (s *Server) roleWord() string {
	if !s.recovering.Load() && s.replica.Ready() == nil {
		return "master"
	}
	return "slave"
}

func answerCommand(c *conn, args [][]byte) {
	switch sub := strings.ToUpper(string(args[min(1, len(args)-1)])); {
	case len(args) == 1:
		c.out.Array(len(c.srv.commands))
		for _, name := range slices.Sorted(maps.Keys(c.srv.commands)) {
			c.writeCommand(c.srv.commands[name])
		}
	case sub == "COUNT":
		c.out.Int(int64(len(c.srv.commands)))
	case sub == "DOCS":
		c.out.Array(0)
	case sub == "INFO":
		c.out.Array(len(args) - 2)
		for _, name := range args[2:] {
			if cmd, ok := c.srv.lookUp(name); ok {
				c.writeCommand(cmd)
			} else {
				c.out.Null()
			}
		}
	default:
		c.out.Error("ERR unknown subcommand of COMMAND: want COUNT, DOCS or INFO")
	}
}

// writeCommand is name, arity, flags, first key, last key, step, as Redis 2.8 gives.
func (c *conn) writeCommand(cmd *command) {
	arity, flag := int64(cmd.args), "readonly"
	if cmd.most != cmd.args {
		arity = -arity
	}
	if cmd.reply != nil {
		flag = "write"
	}
	c.out.Array(6)
	c.out.Bulk(strings.ToLower(cmd.name))
	c.out.Int(arity)
	c.out.Array(1)
	c.out.Simple(flag)
	c.out.Int(0)
	c.out.Int(0)
	c.out.Int(0)
}

func answerClient(c *conn, args [][]byte) {
	switch sub := strings.ToUpper(string(args[1])); {
	case sub == "SETNAME" && len(args) == 3:
		c.name = shorten(args[2])
		c.out.Simple("OK")
	case sub == "GETNAME":
		c.out.Bulk(c.name)
	case sub == "ID":
		c.out.Int(c.id)
	case sub == "SETINFO" && len(args) == 4, sub == "NO-EVICT" && len(args) == 3, sub == "NO-TOUCH" && len(args) == 3:
		c.out.Simple("OK")
	case sub == "INFO", sub == "LIST":
		c.out.Bulk(fmt.Sprintf("id=%d addr=%s laddr=%s name=%s db=0 resp=2\n", c.id, c.remote, c.local, strings.ReplaceAll(c.name, " ", "_")))
	default:
		c.out.Error("ERR unknown subcommand of CLIENT, or wrong number of arguments: want SETNAME, GETNAME, ID, SETINFO, INFO, LIST, NO-EVICT or NO-TOUCH")
	}
}

// answerServerInfo is INFO in Redis's format: sections of field:value lines.
func answerServerInfo(c *conn, args [][]byte) {
	wanted := map[string]bool{}
	for _, a := range args[1:] {
		wanted[strings.ToLower(string(a))] = true
	}
	var text strings.Builder
	for _, section := range c.srv.infoSections() {
		name := strings.ToLower(section.name)
		if len(wanted) > 0 && !wanted[name] && !wanted["all"] && !wanted["everything"] && !wanted["default"] {
			continue
		}
		if text.Len() > 0 {
			text.WriteString("\r\n")
		}
		text.WriteString("# " + section.name + "\r\n")
		for i := 0; i+1 < len(section.pairs); i += 2 {
			text.WriteString(section.pairs[i] + ":" + section.pairs[i+1] + "\r\n")
		}
	}
	c.out.Bulk(text.String())
}

func portOf(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }
