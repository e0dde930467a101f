package interceptor

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"headgate.example/counter/client"
	"headgate.example/interceptor/insight"
	"headgate.example/interceptor/ratelimit"
	"headgate.example/interceptor/strikes"
	"headgate.example/lib/problem"
	"headgate.example/lib/sale"
)

const (
	// rememberedUsers is of how many users the last refusals are kept (144 bytes each).
	rememberedUsers = 100_000
	// talkerSample is of how many requests one is counted for the top talkers.
	talkerSample = 16
	// bansLogged bounds the bans for strikes that are written to the log, a second.
	bansLogged = 10
)

// conduct is what the node remembers of how its callers behave.
type conduct struct {
	strikes   *strikes.Book
	refusals  *insight.Refusals
	users     *insight.Talkers[string]
	addresses *insight.Talkers[netip.Prefix]
	figures   []*strikeFigures // by offence
	logged    *ratelimit.Bucket
}

type strikeFigures struct {
	strikes  *counter
	outcomes map[strikes.Outcome]*metrics.Counter
}

func newConduct(f *figures) *conduct {
	c := &conduct{
		strikes: strikes.NewBook(), refusals: insight.NewRefusals(rememberedUsers),
		users: insight.NewTalkers[string](), addresses: insight.NewTalkers[netip.Prefix](),
		logged: ratelimit.NewBucket(bansLogged, bansLogged),
	}
	for _, o := range strikes.Offences() {
		c.figures = append(c.figures, make([]*strikeFigures, int(o)+1-len(c.figures))...)
		c.figures[o] = f.strikes(o)
	}
	return c
}

// note remembers a request that is answered: why it was refused, what it is charged with, who asked.
func (s *Server) note(x *exchange) {
	refused := x.problem.Code != ""
	if refused {
		r := insight.Refusal{At: x.wall, Request: x.number, Address: x.address,
			Reason: insight.Reason{Code: string(x.problem.Code), Stage: x.endedBy, Detail: x.problem.Detail}}
		if x.route != nil {
			r.Route = x.route.Name
		}
		if x.identity != nil {
			r.User = x.identity.User
		}
		s.conduct.refusals.Add(&r)
		if x.offence != strikes.None {
			s.charge(x)
		}
	}
	if x.hop == nil && rand.Uint64()%talkerSample == 0 { // one that hopped was counted where it arrived
		if x.identity != nil {
			s.conduct.users.Add(x.identity.User, talkerSample, refused, x.mono)
		}
		if network := strikes.NetworkOf(x.address); network.IsValid() {
			s.conduct.addresses.Add(network, talkerSample, refused, x.mono)
		}
	}
}

// charge counts a strike for the exchange's offence: against the user whose token was verified, else
// against the address. A trusted proxy's own address is everybody's.
func (s *Server) charge(x *exchange) {
	rules := &x.plan.cfg.Strikes
	var outcome strikes.Outcome
	var ban strikes.Ban
	switch x.offence {
	case strikes.TooSoon, strikes.ForgedTicket:
		outcome, ban = s.conduct.strikes.StrikeUser(rules, x.offence, x.key, x.identity.User, x.mono)
	default:
		if x.plan.trusted(x.address) {
			return
		}
		outcome, ban = s.conduct.strikes.StrikeAddress(rules, x.offence, x.address, x.mono)
	}
	if outcome == strikes.Ignored {
		return
	}
	s.conduct.figures[x.offence].strikes.inc(x.cell)
	if outcome == strikes.Counted {
		return
	}
	s.conduct.figures[x.offence].outcomes[outcome].Inc()
	if s.conduct.logged.Allow(x.began) {
		s.rt.Log.Info("strikes", "outcome", outcomeWords[outcome], "offence", ban.Offence.String(), "strikes", ban.Strikes,
			"kind", banKind(&ban), "value", banValue(&ban), "for", time.Duration(ban.Until-ban.Since))
	}
}

// outcomeWords are the outcomes that are reported. Read only.
var outcomeWords = map[strikes.Outcome]string{strikes.Banned: "banned", strikes.WouldBan: "would_ban", strikes.NoRoom: "no_room"}

func (f *figures) strikes(o strikes.Offence) *strikeFigures {
	all := &strikeFigures{
		strikes:  f.counter(metricPrefix + `strikes_total{offence="` + o.String() + `"}`),
		outcomes: map[strikes.Outcome]*metrics.Counter{},
	}
	for outcome, word := range outcomeWords {
		all.outcomes[outcome] = f.set.NewCounter(metricPrefix + `strike_bans_total{offence="` + o.String() + `",outcome="` + word + `"}`)
	}
	return all
}

// chargeUnread counts a request that could not be read, by the connection that it came on.
func (s *Server) chargeUnread(remote net.Addr) {
	tcp, ok := remote.(*net.TCPAddr)
	if !ok {
		return
	}
	now := s.now()
	x := exchange{plan: s.plan.Load(), began: now, mono: s.mono(now), address: tcp.AddrPort().Addr().Unmap(), offence: strikes.Malformed}
	s.charge(&x)
}

func banKind(ban *strikes.Ban) string {
	if ban.Network.IsValid() {
		return client.RuleAddress
	}
	return client.RuleUser
}

// banValue is "" for a user whom another node banned, until he asks here.
func banValue(ban *strikes.Ban) string {
	if ban.Network.IsValid() {
		return sale.NetworkText(ban.Network)
	}
	return ban.User
}

// struckOut is what somebody is told whom this node has banned by itself.
const struckOut = "For a while, after too many requests that had to be refused."

// checkAddress refuses banned addresses everything. A trusted proxy's own address is never banned: it is
// everybody's.
func (s *Server) checkAddress(x *exchange) bool {
	if _, _, banned := s.rules.Address(x.address, x.wall); banned && !x.plan.trusted(x.address) {
		return x.refuse(s, problem.Blacklisted, "")
	}
	if _, banned := s.conduct.strikes.Address(x.address, x.mono); banned && !x.plan.trusted(x.address) {
		return x.refuse(s, problem.Blacklisted, struckOut)
	}
	return false
}

// checkUser refuses banned users whatever is no reading.
func (s *Server) checkUser(x *exchange) bool {
	if x.identity != nil && !x.isRead() {
		if _, banned := s.rules.User(x.identity.User, x.wall); banned {
			return x.refuse(s, problem.Blacklisted, "")
		}
	}
	return s.checkStrikes(x)
}

// checkStrikes refuses whatever is no reading to users whom this node has banned by itself. It runs twice:
// at the node that a request reaches, and, for one that hopped, at the user's own, which counts most
// strikes.
func (s *Server) checkStrikes(x *exchange) bool {
	if x.identity == nil || x.isRead() {
		return false
	}
	if ban, banned := s.conduct.strikes.User(x.key, x.mono); banned {
		if ban.User == "" {
			s.conduct.strikes.Name(x.key, x.identity.User)
		}
		return x.refuse(s, problem.Blacklisted, struckOut)
	}
	return false
}

// lift ends this node's own bans of what an operator has taken back, before the rules are applied. An
// answer that is no delta does not tell what was: then it may have been any of them. Where there was no rule
// before, it is one, if each change has a rule in it: only what was removed is left out.
func (s *Server) lift(answer *client.Rules) {
	before := s.rules.Index()
	whole := before == 0 && int64(len(answer.Changes)) == answer.Index
	if answer.Full && !whole && s.rules.Known() && answer.Index != before {
		if lifted := s.conduct.strikes.LiftAll(); lifted > 0 {
			s.rt.Log.Info("bans for strikes taken back: the counter told all its rules anew", "bans", lifted)
		}
		return
	}
	for i := range answer.Changes {
		r := &answer.Changes[i]
		if !r.Lifts() {
			continue
		}
		lifted := 0
		if r.Kind == client.RuleUser {
			lifted = s.conduct.strikes.LiftUser(s.hasher.User(r.Value))
		} else if network, err := sale.ParseNetwork(r.Value); err == nil {
			lifted = s.conduct.strikes.LiftNetwork(network)
		}
		if lifted > 0 {
			s.rt.Log.Info("bans for strikes taken back", "kind", r.Kind, "value", r.Value, "bans", lifted)
		}
	}
}
