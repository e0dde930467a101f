package backend

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"headgate.example/counter/client"
	"headgate.example/lib/auth"
	"headgate.example/lib/problem"
	"headgate.example/lib/queue"
	"headgate.example/lib/sale"
	"headgate.example/lib/store"
)

// Topic is where accepted orders are published.
const Topic = "orders"

const pageSize = 20 // orders of one page, unless asked otherwise

// orderView is an order as its buyer sees it. Times are milliseconds since 1970.
type orderView struct {
	OrderID     string          `json:"order_id"`
	Sale        string          `json:"sale"`
	Status      sale.OrderState `json:"status" enum:"pending,queued,unpaid,paid,cancelled,expired,rejected,refunded"`
	Quantity    int64           `json:"quantity"`
	AmountMinor *int64          `json:"amount_minor,omitempty" doc:"To pay for all units, in the currency's minor unit; absent before the ledger has the order."`
	Currency    string          `json:"currency,omitempty"`
	Deadline    int64           `json:"deadline,omitempty" doc:"Until when an unpaid order is kept."`
	Reason      string          `json:"reason,omitempty" doc:"Why it is cancelled, expired or rejected."`
	CreatedAt   int64           `json:"created_at"`
	UpdatedAt   int64           `json:"updated_at,omitempty"`
}

func viewOf(o *store.Order) orderView {
	v := orderView{
		OrderID: o.ID.String(), Sale: o.SaleID, Status: o.State, Quantity: o.Quantity, AmountMinor: &o.AmountMinor,
		Currency: o.Currency, Reason: o.Reason, CreatedAt: millisOf(o.CreatedAt), UpdatedAt: millisOf(o.UpdatedAt),
	}
	if o.State == sale.Unpaid {
		v.Deadline = millisOf(o.Deadline)
	}
	return v
}

// viewOfHold is an order that the ledger does not have yet.
func viewOfHold(h *client.Hold) orderView {
	return orderView{
		OrderID: h.Order.String(), Sale: h.Sale, Status: stateOfHold(h.State), Quantity: h.Quantity,
		CreatedAt: h.Order.Time().UnixMilli(),
	}
}

// stateOfHold is what a hold without a row means to its buyer. A released one was aborted: had it been
// confirmed before, the ledger would have a row.
func stateOfHold(state sale.HoldState) sale.OrderState {
	switch state {
	case sale.Held:
		return sale.Pending
	case sale.Confirmed:
		return sale.Queued
	default:
		return sale.OrderExpired
	}
}

type takeInput struct {
	Sale   string `path:"sale" maxLength:"64"`
	Ticket string `header:"Headgate-Ticket" doc:"The edge's proof that the counter holds units for this order."`
}

type takeOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         struct {
		OrderID string          `json:"order_id"`
		Status  sale.OrderState `json:"status" enum:"queued"`
	}
}

// takeOrder publishes an accepted order. 200: the broker has it. Outcome refused: it certainly has
// not. Any other answer, or none: nobody knows. Taking an order twice is harmless: its id stays.
func (s *Server) takeOrder(ctx context.Context, in *takeInput) (*takeOutput, error) {
	ticket, err := s.tickets.VerifyTicket(in.Ticket)
	if err != nil {
		return nil, refused(invalid(auth.HeaderTicket, ticketReason(in.Ticket, err)))
	}
	if ticket.Sale != in.Sale {
		return nil, refused(invalid(auth.HeaderTicket, "is for another sale"))
	}
	if who := identityOf(ctx); who.User != "" && who.User != ticket.User {
		return nil, refused(invalid(auth.HeaderTicket, "is another buyer's"))
	}
	message := sale.OrderMessage{Version: sale.MessageVersion, Ticket: in.Ticket, AcceptedAt: s.now().UnixMilli()}
	id := ticket.Order.String()
	// One message a call: the drivers put those of concurrent requests into one commit.
	outcome := s.queue.Publish(ctx, Topic, []queue.Message{{ID: id, Body: message.Encode()}})[0]
	s.metrics.taken(outcome.Fate)
	s.intake.learn(outcome)
	switch outcome.Fate {
	case queue.Confirmed:
		out := &takeOutput{CacheControl: "no-store"}
		out.Body.OrderID, out.Body.Status = id, sale.Queued
		return out, nil
	case queue.Refused:
		return nil, refused(queueRefused(outcome.Err))
	default:
		p := problem.New(problem.UnknownOutcome, "The queue did not answer in time.").Because(outcome.Err)
		p.OrderID, p.Ticket = id, in.Ticket
		return nil, p
	}
}

func ticketReason(ticket string, err error) string {
	if ticket == "" {
		return "is missing: orders are taken through the edge"
	}
	return err.Error()
}

// refused adds the header that promises that the order was not taken.
func refused(p *problem.Problem) error {
	return huma.ErrorWithHeaders(p, http.Header{auth.HeaderOutcome: {auth.OutcomeRefused}})
}

type orderOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         orderView
}

type orderInput struct {
	Order string `path:"order" maxLength:"19" pattern:"^[1-9][0-9]*$" patternDescription:"an order id"`
	Wait  string `query:"wait" required:"false" doc:"Wait so long for the order to leave pending and queued, such as 10s; at most 30s." example:"10s"`
}

// getOrder tells an order's state; with wait, as soon as it is past pending and queued, or at the end
// of the wait whatever it is.
func (s *Server) getOrder(ctx context.Context, in *orderInput) (*orderOutput, error) {
	who, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	id, err := sale.ParseOrderID(in.Order)
	if err != nil {
		return nil, problem.New(problem.NotFound, "There is no such order.")
	}
	wait, err := parseWait(in.Wait)
	if err != nil {
		return nil, err
	}
	view, err := s.lookUp(ctx, who.User, id)
	if err != nil {
		return nil, err
	}
	if wait > 0 && unsettled(view.Status) {
		changed := s.waiters.wait(ctx, id, view.Status, wait)
		if changed.Status != "" {
			view = changed
		}
	}
	return &orderOutput{CacheControl: "no-store", Body: view}, nil
}

func parseWait(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	wait, err := time.ParseDuration(text)
	if err != nil || wait < 0 || wait > MaxWait {
		return 0, invalid("wait", "must be 0s to 30s, such as 10s")
	}
	return wait, nil
}

// unsettled reports a state that a long poll waits to end.
func unsettled(state sale.OrderState) bool { return state == sale.Pending || state == sale.Queued }

// lookUp finds a user's order in the ledger, or at the counter before the ledger has it.
func (s *Server) lookUp(ctx context.Context, user string, id sale.OrderID) (orderView, error) {
	none := problem.New(problem.NotFound, "There is no such order.")
	row, err := s.store.OrderByID(ctx, id)
	if err == nil {
		if row.UserID != user {
			return orderView{}, none
		}
		return viewOf(&row), nil
	}
	if !errors.Is(err, store.ErrNotFound) {
		return orderView{}, ledgerFailed(err)
	}
	hold, err := s.counter.Order(ctx, id)
	if errors.Is(err, client.ErrNoOrder) || err == nil && hold.User != user {
		return orderView{}, none
	}
	if err != nil {
		return orderView{}, counterFailed(err)
	}
	if hold.State != sale.Held {
		// It may have become a row, and even been released again, between the two reads.
		if row, err := s.store.OrderByID(ctx, id); err == nil {
			return viewOf(&row), nil
		}
	}
	return viewOfHold(&hold), nil
}

type orderListInput struct {
	After string `query:"after" required:"false" maxLength:"19" pattern:"^[1-9][0-9]*$" patternDescription:"an order id" doc:"The next of the page before."`
	Limit int    `query:"limit" required:"false" default:"20" minimum:"1" maximum:"100"`
}

type orderListOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         struct {
		Orders []orderView `json:"orders" doc:"Newest first."`
		Next   string      `json:"next,omitempty" doc:"Ask for the next page with after; absent on the last one."`
	}
}

func (s *Server) listOrders(ctx context.Context, in *orderListInput) (*orderListOutput, error) {
	who, err := signedIn(ctx)
	if err != nil {
		return nil, err
	}
	var after sale.OrderID
	if in.After != "" {
		if after, err = sale.ParseOrderID(in.After); err != nil {
			return nil, invalid("after", "must be the next of an earlier page")
		}
	}
	limit := in.Limit
	if limit == 0 {
		limit = pageSize
	}
	rows, err := s.store.OrdersByUser(ctx, who.User, after, limit+1)
	if err != nil {
		return nil, ledgerFailed(err)
	}
	out := &orderListOutput{CacheControl: "no-store"}
	if len(rows) > limit {
		rows = rows[:limit]
		out.Body.Next = rows[limit-1].ID.String()
	}
	out.Body.Orders = make([]orderView, len(rows))
	for i := range rows {
		out.Body.Orders[i] = viewOf(&rows[i])
	}
	return out, nil
}

// actionInput names the order of a buyer's action.
type actionInput struct {
	Order string `path:"order" maxLength:"19" pattern:"^[1-9][0-9]*$" patternDescription:"an order id"`
}

func (in *actionInput) parse(ctx context.Context) (Identity, sale.OrderID, error) {
	who, err := signedIn(ctx)
	if err != nil {
		return who, 0, err
	}
	id, err := sale.ParseOrderID(in.Order)
	if err != nil {
		return who, 0, problem.New(problem.NotFound, "There is no such order.")
	}
	return who, id, nil
}

// cancelOrder frees an unpaid order's units in the ledger; the outbox tells the counter.
func (s *Server) cancelOrder(ctx context.Context, in *actionInput) (*orderOutput, error) {
	who, id, err := in.parse(ctx)
	if err != nil {
		return nil, err
	}
	s.askBeforeCancel(ctx, who.User, id)
	row, err := s.store.CancelOrder(ctx, id, who.User)
	switch {
	case err == nil:
		return &orderOutput{CacheControl: "no-store", Body: viewOf(&row)}, nil
	case errors.Is(err, store.ErrNotCancellable):
		return nil, problem.New(problem.NotCancellable, "Only an unpaid order can be cancelled.")
	case !errors.Is(err, store.ErrNotFound):
		return nil, ledgerFailed(err)
	}
	return nil, s.notInLedger(ctx, who.User, id)
}

// notInLedger is the refusal of an action on an order that has no row: it is queued, or nobody's.
func (s *Server) notInLedger(ctx context.Context, user string, id sale.OrderID) error {
	view, err := s.lookUp(ctx, user, id)
	if err != nil {
		return err
	}
	if unsettled(view.Status) {
		return problem.New(problem.NotCancellable, "The order is still in the queue. Try again in a moment.")
	}
	return problem.New(problem.NotCancellable, "This order never came about.")
}
