package backend

import (
	"context"
	"fmt"
	"time"

	"headgate.example/backend/agreement"
	"headgate.example/lib/problem"
	"headgate.example/lib/sale"
	"headgate.example/lib/store"
)

// The parameters of the ring that spreads a new sale's users over the counter's shards; a sale pins
// them when it is opened.
const (
	ringPartitions = 271
	ringReplicas   = 100
	ringLoad       = 1.05
)

// newSale is a draft as an operator writes it. Times are milliseconds since 1970.
type newSale struct {
	ID           string         `json:"id" minLength:"1" maxLength:"64"`
	Title        string         `json:"title,omitempty" maxLength:"200"`
	Description  string         `json:"description,omitempty" maxLength:"10000"`
	PriceMinor   int64          `json:"price_minor" minimum:"0"`
	Currency     string         `json:"currency,omitempty" pattern:"^[A-Z]{3}$" patternDescription:"three capital letters"`
	Stock        int64          `json:"stock" minimum:"0"`
	LimitPerUser int64          `json:"limit_per_user,omitempty" minimum:"0" doc:"Units; 0: no limit."`
	OpensAt      int64          `json:"opens_at" doc:"Milliseconds since 1970."`
	EndsAt       int64          `json:"ends_at,omitempty" doc:"Milliseconds since 1970; 0: does not end by itself."`
	Releases     []sale.Release `json:"releases,omitempty" doc:"Parts of the stock that come later, in ascending order."`
	HoldForMS    int64          `json:"hold_for_ms,omitempty"`
	PayWithinMS  int64          `json:"pay_within_ms,omitempty"`
}

// adminSale is a sale as operators see it: what the ledger intends and what the counter has.
type adminSale struct {
	ID           string         `json:"id"`
	Title        string         `json:"title"`
	Description  string         `json:"description,omitempty"`
	Intent       string         `json:"intent" enum:"draft,paused,open,closed,forgotten"`
	Phase        sale.Phase     `json:"phase,omitempty" doc:"As shoppers see it; absent for a draft."`
	PriceMinor   int64          `json:"price_minor"`
	Currency     string         `json:"currency"`
	Stock        int64          `json:"stock"`
	StockCeiling int64          `json:"stock_ceiling"`
	Sold         int64          `json:"sold" doc:"Units of the active orders in the ledger."`
	LimitPerUser int64          `json:"limit_per_user"`
	OpensAt      int64          `json:"opens_at"`
	EndsAt       int64          `json:"ends_at,omitempty"`
	Releases     []sale.Release `json:"releases,omitempty"`
	HoldForMS    int64          `json:"hold_for_ms"`
	PayWithinMS  int64          `json:"pay_within_ms"`
	Revision     int64          `json:"revision" doc:"Of the last change that is intended."`
	Acknowledged int64          `json:"acknowledged" doc:"The revision that the counter has applied."`
	Pending      bool           `json:"pending" doc:"The counter has not applied every change yet."`
	Alarm        string         `json:"alarm,omitempty"`
	Counter      *counterView   `json:"counter,omitempty" doc:"Absent when the counter does not answer or does not know the sale."`
	CreatedAt    int64          `json:"created_at"`
	UpdatedAt    int64          `json:"updated_at"`
}

type counterView struct {
	Revision  int64 `json:"revision"`
	Paused    bool  `json:"paused"`
	Closed    bool  `json:"closed"`
	Stock     int64 `json:"stock"`
	Scheduled int64 `json:"scheduled"`
	Available int64 `json:"available"`
	Held      int64 `json:"held"`
	Confirmed int64 `json:"confirmed"`
	Debt      int64 `json:"debt"`
	// InTransfer are units that one shard has given and no other has taken yet.
	InTransfer int64       `json:"in_transfer" doc:"Units on their way between two shards; in a running sale about."`
	Shards     []shardView `json:"shards,omitempty" doc:"Each shard's part, when there are several."`
	Silent     []string    `json:"silent,omitempty" doc:"Shards that did not answer: their figures are missing in the sums."`
}

// shardView is one counter shard's part of a sale.
type shardView struct {
	Shard     string `json:"shard"`
	Revision  int64  `json:"revision"`
	Paused    bool   `json:"paused"`
	Alloc     int64  `json:"alloc" doc:"Its share of the stock, with what it owes."`
	Taken     int64  `json:"taken" doc:"Units from other shards, ever."`
	Given     int64  `json:"given" doc:"Units to other shards, ever."`
	Scheduled int64  `json:"scheduled"`
	Available int64  `json:"available"`
	Held      int64  `json:"held"`
	Confirmed int64  `json:"confirmed"`
	Debt      int64  `json:"debt"`
}

func viewOfCounter(info *sale.Info) *counterView {
	v := &counterView{
		Revision: info.Revision, Paused: info.Paused, Closed: info.Closed, Stock: info.Stock, Scheduled: info.Scheduled,
		Available: info.Available, Held: info.Held, Confirmed: info.Confirmed, Debt: info.Debt, InTransfer: max(info.InTransfer(), 0),
		Silent: info.Silent,
	}
	if len(info.Shards) < 2 {
		return v
	}
	for _, part := range info.Parts {
		i := &part.Info
		v.Shards = append(v.Shards, shardView{
			Shard: part.Shard, Revision: i.Revision, Paused: i.Paused, Alloc: i.Alloc, Taken: i.Taken, Given: i.Given, Scheduled: i.Scheduled,
			Available: i.Available, Held: i.Held, Confirmed: i.Confirmed, Debt: i.Debt,
		})
	}
	return v
}

func (p *page) adminView(s *store.Sale, now int64) adminSale {
	v := adminSale{
		ID: s.ID, Title: s.Title, Description: s.Description, Intent: s.Intent, PriceMinor: s.PriceMinor, Currency: s.Currency,
		Stock: s.Stock, StockCeiling: s.StockCeiling, Sold: s.Sold, LimitPerUser: s.LimitPerUser, OpensAt: millisOf(s.OpensAt),
		EndsAt: millisOf(s.EndsAt), Releases: s.Releases, HoldForMS: s.HoldFor.Milliseconds(), PayWithinMS: s.PayWithin.Milliseconds(),
		Revision: s.Revision, Acknowledged: s.Acknowledged, Pending: s.Acknowledged < s.Revision, Alarm: s.Alarm,
		CreatedAt: millisOf(s.CreatedAt), UpdatedAt: millisOf(s.UpdatedAt),
	}
	info, known := p.infos[s.ID]
	if known {
		v.Counter = viewOfCounter(&info)
	}
	if s.Intent != store.IntentDraft {
		v.Phase = phaseOf(s, &info, known, now)
	}
	return v
}

type adminSalesOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         struct {
		ServerTime int64       `json:"server_time"`
		Sales      []adminSale `json:"sales" doc:"Newest first."`
	}
}

type adminSaleOutput struct {
	Status       int
	CacheControl string `header:"Cache-Control"`
	Body         adminSale
}

type createSaleInput struct{ Body newSale }

type stockInput struct {
	Sale string `path:"sale" maxLength:"64"`
	Body struct {
		Total int64 `json:"total" minimum:"0" maximum:"1000000000" doc:"Units for sale in all, those sold included."`
	}
}

func (s *Server) adminListSales(ctx context.Context, _ *struct{}) (*adminSalesOutput, error) {
	p, err := s.book.get(ctx)
	if err != nil {
		return nil, ledgerFailed(err)
	}
	now := s.now().Add(p.offset).UnixMilli()
	out := &adminSalesOutput{CacheControl: "no-store"}
	out.Body.ServerTime, out.Body.Sales = now, make([]adminSale, len(p.sales))
	for i := range p.sales {
		out.Body.Sales[i] = p.adminView(&p.sales[i], now)
	}
	return out, nil
}

func (s *Server) adminGetSale(ctx context.Context, in *saleInput) (*adminSaleOutput, error) {
	return s.showSale(ctx, in.Sale, 200)
}

// showSale answers with a sale as it is now, not as the snapshot has it. The counter's figures are
// left out when it does not answer.
func (s *Server) showSale(ctx context.Context, id string, status int) (*adminSaleOutput, error) {
	current, err := s.store.SaleByID(ctx, id)
	if err != nil {
		return nil, ledgerFailed(err)
	}
	p := &page{infos: map[string]sale.Info{}}
	if current.Revision > 0 {
		asking, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if info, err := s.counter.SaleInfo(asking, id); err == nil {
			p.infos[id] = info
		}
	}
	return &adminSaleOutput{Status: status, CacheControl: "no-store", Body: p.adminView(&current, s.now().UnixMilli())}, nil
}

const payWithinRange = "must be 1000 (1 s) to 7776000000 (90 days)"

// createSale writes a draft. What opening it would find wrong is refused already here.
func (s *Server) createSale(ctx context.Context, in *createSaleInput) (*adminSaleOutput, error) {
	b := &in.Body
	// Checked as sent: as a time.Duration, a huge number could wrap around to a small one.
	if b.HoldForMS < 0 || b.HoldForMS > sale.MaxHoldForMillis {
		return nil, invalid("hold_for_ms", fmt.Sprintf("must be %d to %d", sale.MinHoldForMillis, sale.MaxHoldForMillis))
	}
	if b.PayWithinMS < 0 || b.PayWithinMS > maxPayWithin.Milliseconds() {
		return nil, invalid("pay_within_ms", payWithinRange)
	}
	draft := store.Sale{
		ID: b.ID, Title: b.Title, Description: b.Description, PriceMinor: b.PriceMinor, Currency: b.Currency, Stock: b.Stock,
		LimitPerUser: b.LimitPerUser, OpensAt: time.UnixMilli(b.OpensAt).UTC(), Releases: b.Releases,
		HoldFor: time.Duration(b.HoldForMS) * time.Millisecond, PayWithin: time.Duration(b.PayWithinMS) * time.Millisecond,
	}
	if b.EndsAt != 0 {
		draft.EndsAt = time.UnixMilli(b.EndsAt).UTC()
	}
	if draft.Currency == "" {
		draft.Currency = s.config.Sales.Currency
	}
	if b.HoldForMS == 0 {
		draft.HoldFor = s.config.Sales.HoldFor
	}
	if b.PayWithinMS == 0 {
		draft.PayWithin = s.config.Sales.PayWithin
	}
	if draft.PayWithin < time.Second || draft.PayWithin > maxPayWithin {
		return nil, invalid("pay_within_ms", payWithinRange)
	}
	terms := s.termsOf(&draft)
	if err := terms.Validate(); err != nil {
		return nil, ledgerFailed(err)
	}
	if err := s.store.CreateSale(ctx, &draft); err != nil {
		return nil, ledgerFailed(err)
	}
	s.book.forget()
	return s.showSale(ctx, draft.ID, 201)
}

// termsOf is what the counter will be told of a sale. The store sets the revision.
func (s *Server) termsOf(draft *store.Sale) sale.Terms {
	terms := sale.Terms{
		ID: draft.ID, Revision: draft.Revision + 1, Stock: draft.Stock, Limit: draft.LimitPerUser,
		OpensAt: millisOf(draft.OpensAt), EndsAt: millisOf(draft.EndsAt), Releases: draft.Releases,
		HoldForMillis: draft.HoldFor.Milliseconds(), RetainForMillis: s.config.Sales.RetainFor.Milliseconds(),
		Ring: sale.Ring{Partitions: ringPartitions, Replicas: ringReplicas, Load: ringLoad},
	}
	for _, shard := range s.config.Counter.Shards {
		terms.Shards = append(terms.Shards, shard.Name)
	}
	return terms
}

// change decides a change of a sale, writes it down, and tells the counter. 200: the counter has
// applied it. 202: it will; the ledger has it, and the pusher goes on.
func (s *Server) change(ctx context.Context, id string, decide func(store.Sale) ([]store.SaleChange, error)) (*adminSaleOutput, error) {
	changed, err := s.store.ChangeSale(ctx, id, decide)
	if err != nil {
		return nil, ledgerFailed(err)
	}
	pushing, cancel := context.WithTimeout(ctx, pushTimeout)
	defer cancel()
	if err := s.pusher.Push(pushing, id); err != nil {
		s.log.Warn("a change waits for the counter", "sale", id, "revision", changed.Revision, "error", err)
	}
	s.book.forget()
	out, err := s.showSale(ctx, id, 200)
	if err == nil && out.Body.Acknowledged < changed.Revision {
		out.Status = 202
	}
	return out, err
}

// pushTimeout is how long an operator waits for the counter before the answer is 202.
const pushTimeout = 3 * time.Second

func (s *Server) openSale(ctx context.Context, in *saleInput) (*adminSaleOutput, error) {
	return s.change(ctx, in.Sale, func(current store.Sale) ([]store.SaleChange, error) {
		switch current.Intent {
		case store.IntentDraft:
			return agreement.Open(s.termsOf(&current))
		case store.IntentOpen:
			return nil, nil
		case store.IntentPaused:
			return nil, problem.New(problem.Conflict, "The sale was opened before and is paused: resume it.")
		}
		return nil, isOver(current)
	})
}

func (s *Server) pauseSale(ctx context.Context, in *saleInput) (*adminSaleOutput, error) {
	return s.change(ctx, in.Sale, func(current store.Sale) ([]store.SaleChange, error) {
		switch current.Intent {
		case store.IntentOpen:
			return agreement.Pause(), nil
		case store.IntentPaused:
			return nil, nil
		}
		return nil, isOver(current)
	})
}

// resumeSale sells again. It also clears an alarm: whoever resumes has looked at it. One that still
// has its reason comes back.
func (s *Server) resumeSale(ctx context.Context, in *saleInput) (*adminSaleOutput, error) {
	out, err := s.change(ctx, in.Sale, func(current store.Sale) ([]store.SaleChange, error) {
		switch current.Intent {
		case store.IntentPaused:
			return agreement.Resume(), nil
		case store.IntentOpen:
			return nil, nil
		}
		return nil, isOver(current)
	})
	if err == nil && out.Body.Alarm != "" {
		if err := s.store.SetSaleAlarm(ctx, in.Sale, ""); err != nil {
			return nil, ledgerFailed(err)
		}
		out.Body.Alarm = ""
	}
	return out, err
}

func (s *Server) closeSale(ctx context.Context, in *saleInput) (*adminSaleOutput, error) {
	return s.change(ctx, in.Sale, func(current store.Sale) ([]store.SaleChange, error) {
		switch current.Intent {
		case store.IntentOpen, store.IntentPaused:
			return agreement.Close(), nil
		case store.IntentClosed:
			return nil, nil
		}
		return nil, isOver(current)
	})
}

// setStock changes how many units are for sale. Less than now is cut while the sale is paused.
func (s *Server) setStock(ctx context.Context, in *stockInput) (*adminSaleOutput, error) {
	return s.change(ctx, in.Sale, func(current store.Sale) ([]store.SaleChange, error) {
		switch {
		case current.Intent != store.IntentOpen && current.Intent != store.IntentPaused:
			return nil, isOver(current)
		case current.Stock == in.Body.Total:
			return nil, nil
		}
		return agreement.Stock(in.Body.Total, current.Intent == store.IntentOpen && in.Body.Total < current.Stock)
	})
}

// isOver refuses a change that the sale's state does not allow.
func isOver(s store.Sale) error {
	if s.Intent == store.IntentDraft {
		return problem.New(problem.Conflict, "The sale is a draft: open it first.")
	}
	return problem.Newf(problem.Conflict, "The sale is %s, which is final.", s.Intent)
}
