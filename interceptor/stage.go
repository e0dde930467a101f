package interceptor

// The stages, in the order in which they run.
const (
	stageRoute        = "route"
	stageNodeBucket   = "node_bucket"
	stageAddress      = "address_bucket"
	stageToken        = "token"
	stageRoles        = "roles"
	stageBlacklist    = "blacklist" // twice: addresses before tokens are looked at, users after
	stageOrderForm    = "order_form"
	stageSaleState    = "sale_state"
	stageOwner        = "owner"
	stageStrikes      = "strikes"
	stageBackpressure = "backpressure"
	stageUserInterval = "user_interval"
	stageUserBucket   = "user_bucket"
	stageRouteBucket  = "route_bucket"
	stageRouteQueue   = "route_queue"
	stageReserve      = "reserve"
	stageForward      = "forward"
)

// stageNames lists all stages; ruleStages those whose rules have modes of their own, and fixedStages
// those that cannot be anything but enforced. Read only.
var (
	stageNames = []string{stageRoute, stageNodeBucket, stageAddress, stageToken, stageRoles, stageBlacklist, stageOrderForm, stageSaleState,
		stageOwner, stageStrikes, stageBackpressure, stageUserInterval, stageUserBucket, stageRouteBucket, stageRouteQueue, stageReserve, stageForward}
	ruleStages = map[string]string{stageStrikes: "strikes", stageNodeBucket: "limits.node_bucket", stageAddress: "limits.address_bucket",
		stageUserInterval: "limits.user_interval", stageUserBucket: "limits.user_bucket",
		stageRouteBucket: "bucket of the route", stageRouteQueue: "queue of the route"}
	fixedStages = []string{stageRoute, stageToken, stageRoles, stageOrderForm, stageOwner, stageReserve, stageForward}
)

// stage is one step of the chain. run reports whether the request is at its end: refused, with the
// refusal in the exchange, or answered.
type stage struct {
	name     string
	run      func(x *exchange) bool
	entry    bool // run where the request came in, and not again after a hop
	waits    bool // may wait, or take long: the user's budgets were taken from before
	shadow   bool
	refusals *counter
}

// newChain binds the stages that are not off.
func (s *Server) newChain(modes map[string]Stage) (chain []stage) {
	for _, st := range []stage{
		{name: stageRoute, run: s.findRoute},
		{name: stageNodeBucket, run: s.takeFromNode, entry: true},
		{name: stageBlacklist, run: s.checkAddress, entry: true}, // first, so that guessing tokens costs nothing
		{name: stageAddress, run: s.takeFromAddress, entry: true},
		{name: stageToken, run: s.checkToken, entry: true},
		{name: stageRoles, run: s.checkRoles, entry: true},
		{name: stageBlacklist, run: s.checkUser, entry: true},
		{name: stageOrderForm, run: s.readOrderForm},
		{name: stageSaleState, run: s.checkSaleState},
		{name: stageOwner, run: s.checkOwner},
		{name: stageStrikes, run: s.checkStrikes},
		{name: stageBackpressure, run: s.checkBackpressure},
		{name: stageUserInterval, run: s.takeInterval},
		{name: stageUserBucket, run: s.takeCalls},
		{name: stageRouteBucket, run: s.takeFromRoute},
		{name: stageRouteQueue, run: s.waitInQueue, waits: true},
		{name: stageReserve, run: s.reserve, waits: true},
		{name: stageForward, run: s.forward, waits: true},
	} {
		mode := ModeEnforce
		if set, ok := modes[st.name]; ok {
			mode = set.Mode
		}
		if mode == ModeOff {
			continue
		}
		st.shadow = mode == ModeShadow
		st.refusals = s.figures.stageRefusals(st.name, mode)
		chain = append(chain, st)
	}
	return chain
}

// runChain passes the exchange through the stages until one ends it, or it has to wait and may not.
func (s *Server) runChain(x *exchange) {
	chain := x.plan.chain
	x.suspended = false
	for ; x.next < len(chain); x.next++ {
		st := &chain[x.next]
		if st.entry && x.hop != nil {
			continue
		}
		if st.waits {
			x.section.Leave()
			if x.hop != nil && x.hop.inline {
				x.suspended = true
				return
			}
		}
		if !st.run(x) {
			continue
		}
		if x.suspended {
			return
		}
		if x.problem.Code != "" {
			st.refusals.inc(x.cell)
			if st.shadow {
				x.clearRefusal()
				continue
			}
		}
		x.endedBy = st.name
		return
	}
}
