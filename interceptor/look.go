package interceptor

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"headgate.example/counter/client"
	"headgate.example/interceptor/insight"
	"headgate.example/interceptor/salestate"
	"headgate.example/interceptor/strikes"
	"headgate.example/lib/problem"
	"headgate.example/lib/sale"
)

// Bounds of the lists on the admin port.
const (
	defaultListed = 50
	maxListed     = 10_000
)

// registerPages adds what operators ask of this node to the admin port.
func (s *Server) registerPages() {
	for pattern, look := range map[string]func(*http.Request) (any, *problem.Problem){
		"GET /edge/ring":     s.lookAtRing,
		"POST /edge/drain":   s.drainNow,
		"GET /edge/user":     s.lookAtUser,
		"GET /edge/refusals": s.lookAtRefusals,
		"GET /edge/top":      s.lookAtTop,
		"GET /edge/bans":     s.lookAtBans,
		"GET /edge/sale":     s.lookAtSale,
	} {
		s.rt.Pages.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			view, wrong := look(r)
			if wrong != nil {
				wrong.WriteHTTP(w)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Cache-Control", "no-store")
			_ = json.NewEncoder(w).Encode(view) // the caller is gone when this fails
		})
	}
}

// limitOf reads how many entries are wanted.
func limitOf(r *http.Request) (int, *problem.Problem) {
	text := r.URL.Query().Get("limit")
	if text == "" {
		return defaultListed, nil
	}
	limit, err := strconv.Atoi(text)
	if err != nil || limit < 1 || limit > maxListed {
		return 0, problem.Newf(problem.InvalidRequest, "limit: must be 1 to %d", maxListed)
	}
	return limit, nil
}

// moment is the time now: by the counter's clock in milliseconds, and as bans and budgets count it.
func (s *Server) moment() (wall, mono int64) {
	now := s.now()
	return s.sales.Wall(now.UnixMilli()), s.mono(now)
}

// lookAtUser answers /edge/user?id=USER.
func (s *Server) lookAtUser(r *http.Request) (any, *problem.Problem) {
	user := r.URL.Query().Get("id")
	if err := sale.CheckUser(user); err != nil {
		return nil, problem.New(problem.InvalidRequest, "id: must be a user id: 1 to 64 printable characters without spaces")
	}
	p := s.plan.Load()
	wall, mono := s.moment()
	view := UserView{Node: p.cfg.Self, User: user, Owner: s.peers.OwnerName(s.hasher.User(user)), Bans: s.bansOfUser(user, wall, mono), RevokedBefore: s.rules.RevokedBefore(user),
		Budgets: s.budgetsOf(p, user, mono), Refusals: []RefusalView{}}
	for _, reason := range s.conduct.refusals.OfUser(user) {
		view.Refusals = append(view.Refusals, s.refusalView(&reason.Last, reason.Times))
	}
	return view, nil
}

// budgetsOf gives a user's budgets by the rules that hold.
func (s *Server) budgetsOf(p *plan, user string, mono int64) []BudgetView {
	balance, _ := s.limiters.users.Look(s.hasher.User(user), mono)
	views := []BudgetView{}
	for kind, name := range [userBudgets]string{budgetPress: limitInterval, budgetRetry: limitRetry, budgetCalls: limitUser} {
		l := p.limits.users[kind]
		if l == nil {
			continue
		}
		views = append(views, budgetView(name, l, balance.Ahead[kind]))
	}
	return views
}

func budgetView(name string, l *limit, ahead time.Duration) BudgetView {
	mode := ModeEnforce
	if l.shadow {
		mode = ModeShadow
	}
	ahead = min(ahead, l.rate.Window()) // spent by a rule that was slower
	return BudgetView{Name: name, Mode: mode, Left: l.rate.Left(ahead), Of: l.rate.Burst(), FullIn: ahead.Milliseconds()}
}

// The two who ban.
const (
	byOperator = "operator"
	byStrikes  = "strikes"
)

func strikeView(ban *strikes.Ban, wall, mono int64) BanView {
	until := wall + ban.Left(mono).Milliseconds()
	return BanView{Kind: banKind(ban), Value: banValue(ban), Until: until, Reason: ban.Offence.String(), By: byStrikes, Strikes: ban.Strikes}
}

func (s *Server) refusalView(r *insight.Refusal, times int) RefusalView {
	var x exchange
	x.nameRequest(s.process, r.Request)
	view := RefusalView{At: r.At, Request: string(x.id[:]), Code: r.Code, Stage: r.Stage, Route: r.Route, Detail: r.Detail, User: r.User, Times: times}
	if r.Address.IsValid() {
		view.Address = r.Address.String()
	}
	return view
}

// lookAtRefusals answers /edge/refusals?user=USER&address=NETWORK&code=CODE&limit=N; all are optional. Of
// a user it gives the last reasons too, which a crowd does not flush.
func (s *Server) lookAtRefusals(r *http.Request) (any, *problem.Problem) {
	limit, wrong := limitOf(r)
	if wrong != nil {
		return nil, wrong
	}
	query := r.URL.Query()
	q := insight.Query{User: query.Get("user"), Code: query.Get("code"), Limit: limit}
	if text := query.Get("address"); text != "" {
		var err error
		if q.Network, err = sale.ParseNetwork(text); err != nil {
			return nil, problem.New(problem.InvalidRequest, err.Error())
		}
	}
	view := RefusalsView{Node: s.plan.Load().cfg.Self, Refusals: []RefusalView{}}
	recent := s.conduct.refusals.Recent(q)
	if q.User != "" {
		recent = s.withReasons(&view, recent, &q)
	}
	for i := range recent {
		view.Refusals = append(view.Refusals, s.refusalView(&recent[i], 0))
	}
	view.Refusals = view.Refusals[:min(limit, len(view.Refusals))]
	return view, nil
}

// withReasons puts the user's last reasons first and leaves those out of the refusals.
func (s *Server) withReasons(view *RefusalsView, recent []insight.Refusal, q *insight.Query) []insight.Refusal {
	shown := map[uint64]bool{}
	for _, reason := range s.conduct.refusals.OfUser(q.User) {
		if q.Takes(&reason.Last) {
			view.Refusals = append(view.Refusals, s.refusalView(&reason.Last, reason.Times))
			shown[reason.Last.Request] = true
		}
	}
	others := recent[:0]
	for i := range recent {
		if !shown[recent[i].Request] {
			others = append(others, recent[i])
		}
	}
	return others
}

// lookAtTop answers /edge/top?limit=N.
func (s *Server) lookAtTop(r *http.Request) (any, *problem.Problem) {
	limit, wrong := limitOf(r)
	if wrong != nil {
		return nil, wrong
	}
	_, mono := s.moment()
	users, counted := s.conduct.users.Top(limit, mono)
	addresses, also := s.conduct.addresses.Top(limit, mono)
	view := TopView{Node: s.plan.Load().cfg.Self, Seconds: max(counted, also).Seconds(), Sample: talkerSample, Users: []TalkerView{}, Addresses: []TalkerView{}}
	for _, t := range users {
		view.Users = append(view.Users, TalkerView{Key: t.Key, Requests: t.Requests, Surplus: t.Above, Refused: t.Refused})
	}
	for _, t := range addresses {
		view.Addresses = append(view.Addresses, TalkerView{Key: sale.NetworkText(t.Key), Requests: t.Requests, Surplus: t.Above, Refused: t.Refused})
	}
	return view, nil
}

// lookAtBans answers /edge/bans?value=VALUE&limit=N, this node's own bans first; with a value, the bans that
// hold for that user or address.
func (s *Server) lookAtBans(r *http.Request) (any, *problem.Problem) {
	limit, wrong := limitOf(r)
	if wrong != nil {
		return nil, wrong
	}
	wall, mono := s.moment()
	view := BansView{Node: s.plan.Load().cfg.Self, Bans: []BanView{}, Rules: s.rules.Index(), Known: s.rules.Known()}
	if value := r.URL.Query().Get("value"); value != "" {
		view.Bans = s.bansOf(value, wall, mono)
		view.Total = len(view.Bans)
		return view, nil
	}
	own, count := s.conduct.strikes.List(mono, limit)
	for i := range own {
		view.Bans = append(view.Bans, strikeView(&own[i], wall, mono))
	}
	rules, total := s.rules.Bans(wall, limit-len(view.Bans))
	for _, ban := range rules {
		view.Bans = append(view.Bans, BanView{Kind: ban.Kind, Value: ban.Value, Until: ban.Until, Reason: ban.Reason, By: byOperator})
	}
	view.Total = count + total
	return view, nil
}

// lookAtSale answers /edge/sale?id=SALE.
func (s *Server) lookAtSale(r *http.Request) (any, *problem.Problem) {
	id := r.URL.Query().Get("id")
	if err := sale.CheckName("id", id); err != nil {
		return nil, problem.New(problem.InvalidRequest, "id: must be a sale's id")
	}
	wall, mono := s.moment()
	verdict := s.sales.Look([]byte(id), mono, wall)
	view := SaleView{Node: s.plan.Load().cfg.Self, Sale: id, Known: verdict.Knowledge == salestate.Known, Code: string(verdict.Code), OpensAt: verdict.OpensAt,
		Rules: s.rules.Index(), RulesKnown: s.rules.Known()}
	if age, any := s.sales.Age(mono); any {
		view.Heard, view.Age = verdict.Knowledge != salestate.Stale, age.Milliseconds()
	}
	return view, nil
}

func (s *Server) bansOfUser(user string, wall, mono int64) []BanView {
	list := []BanView{}
	if ban, banned := s.rules.User(user, wall); banned {
		list = append(list, BanView{Kind: client.RuleUser, Value: user, Until: ban.Until, Reason: ban.Reason, By: byOperator})
	}
	if ban, banned := s.conduct.strikes.User(s.hasher.User(user), mono); banned {
		ban.User = user
		list = append(list, strikeView(&ban, wall, mono))
	}
	return list
}

// bansOf gives the bans that hold for a user or an address.
func (s *Server) bansOf(value string, wall, mono int64) []BanView {
	list := s.bansOfUser(value, wall, mono)
	address, err := netip.ParseAddr(value)
	if err != nil {
		return list
	}
	if network, ban, banned := s.rules.Address(address, wall); banned {
		list = append(list, BanView{Kind: client.RuleAddress, Value: sale.NetworkText(network), Until: ban.Until, Reason: ban.Reason, By: byOperator})
	}
	if ban, banned := s.conduct.strikes.Address(address, mono); banned {
		list = append(list, strikeView(&ban, wall, mono))
	}
	return list
}
