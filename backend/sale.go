package backend

import (
	"cmp"
	"context"
	"slices"
	"time"

	"headgate.example/lib/problem"
	"headgate.example/lib/sale"
	"headgate.example/lib/store"
)

// maxListed bounds the sales that shoppers see, the most present first.
const maxListed = 100

// saleView is a sale as shoppers see it. Times are milliseconds since 1970.
type saleView struct {
	ID           string         `json:"id"`
	Title        string         `json:"title"`
	Description  string         `json:"description,omitempty"`
	Phase        sale.Phase     `json:"phase" enum:"upcoming,open,paused,sold_out,ended"`
	PriceMinor   int64          `json:"price_minor" doc:"Price of one unit in the currency's minor unit."`
	Currency     string         `json:"currency"`
	Stock        int64          `json:"stock" doc:"Units in all, those of later releases included."`
	Left         *int64         `json:"left,omitempty" doc:"About how many units can be bought now; absent when not known."`
	LimitPerUser int64          `json:"limit_per_user" doc:"Units; 0: no limit."`
	OpensAt      int64          `json:"opens_at" doc:"Milliseconds since 1970."`
	EndsAt       int64          `json:"ends_at,omitempty" doc:"Milliseconds since 1970; absent: it does not end by itself."`
	Releases     []sale.Release `json:"releases,omitempty" doc:"Parts of the stock that come later."`
	PayWithin    int64          `json:"pay_within_ms" doc:"From the order to its payment."`
	ServerTime   int64          `json:"server_time,omitempty" doc:"The shop's clock, milliseconds since 1970; in a list it stands beside the sales."`
}

// ageOf says how old the figures are, in whole seconds.
func ageOf(p *page, now time.Time) string {
	return itoa(max(0, int64(now.Sub(p.read)/time.Second)))
}

// briefly is how long everybody may keep what everybody sees alike.
const briefly = "public, max-age=1"

type saleListOutput struct {
	CacheControl string `header:"Cache-Control"`
	Age          string `header:"Age" doc:"Whole seconds since the figures were read."`
	Body         struct {
		ServerTime int64      `json:"server_time" doc:"The shop's clock, milliseconds since 1970."`
		Sales      []saleView `json:"sales" doc:"What can be bought first, then what will be, then what is over."`
	}
}

type saleOutput struct {
	CacheControl string `header:"Cache-Control"`
	Age          string `header:"Age" doc:"Whole seconds since the figures were read."`
	Body         saleView
}

type saleInput struct {
	Sale string `path:"sale" maxLength:"64"`
}

func (s *Server) listSales(ctx context.Context, _ *struct{}) (*saleListOutput, error) {
	p, err := s.book.get(ctx)
	if err != nil {
		return nil, ledgerFailed(err)
	}
	now := s.now()
	shop := now.Add(p.offset).UnixMilli()
	out := &saleListOutput{CacheControl: briefly, Age: ageOf(p, now)}
	out.Body.ServerTime = shop
	out.Body.Sales = make([]saleView, 0, len(p.sales))
	for i := range p.sales {
		if public(&p.sales[i]) {
			out.Body.Sales = append(out.Body.Sales, p.view(&p.sales[i], shop))
		}
	}
	slices.SortStableFunc(out.Body.Sales, func(a, b saleView) int {
		return cmp.Or(cmp.Compare(presence[a.Phase], presence[b.Phase]), cmp.Compare(a.OpensAt, b.OpensAt), cmp.Compare(a.ID, b.ID))
	})
	out.Body.Sales = out.Body.Sales[:min(len(out.Body.Sales), maxListed)]
	return out, nil
}

// presence orders the list: what can be bought, what will be, and what is over.
var presence = map[sale.Phase]int{sale.Open: 0, sale.Upcoming: 1, sale.Paused: 2, sale.SoldOut: 3, sale.Ended: 4}

func (s *Server) getSale(ctx context.Context, in *saleInput) (*saleOutput, error) {
	p, err := s.book.get(ctx)
	if err != nil {
		return nil, ledgerFailed(err)
	}
	now := s.now()
	for i := range p.sales {
		if p.sales[i].ID == in.Sale && public(&p.sales[i]) {
			shop := now.Add(p.offset).UnixMilli()
			out := &saleOutput{CacheControl: briefly, Age: ageOf(p, now), Body: p.view(&p.sales[i], shop)}
			out.Body.ServerTime = shop
			return out, nil
		}
	}
	return nil, problem.New(problem.NotFound, "There is no such sale.")
}

// public reports whether shoppers may know of a sale.
func public(s *store.Sale) bool {
	return s.Intent != store.IntentDraft && s.Intent != store.IntentForgotten
}

func (p *page) view(s *store.Sale, now int64) saleView {
	v := saleView{
		ID: s.ID, Title: s.Title, Description: s.Description, PriceMinor: s.PriceMinor, Currency: s.Currency, Stock: s.Stock,
		LimitPerUser: s.LimitPerUser, OpensAt: millisOf(s.OpensAt), EndsAt: millisOf(s.EndsAt), Releases: s.Releases,
		PayWithin: s.PayWithin.Milliseconds(),
	}
	info, known := p.infos[s.ID]
	v.Phase = phaseOf(s, &info, known, now)
	if known && info.Complete() && (v.Phase == sale.Open || v.Phase == sale.SoldOut) {
		left := roughly(info.Available)
		v.Left = &left
	}
	return v
}

// phaseOf is what shoppers see: what the ledger intends and the counter does, whichever sells less.
// Without the counter's figures a sale is never called sold out.
func phaseOf(s *store.Sale, info *sale.Info, known bool, now int64) sale.Phase {
	ends := millisOf(s.EndsAt)
	switch {
	case s.Intent == store.IntentClosed || s.Intent == store.IntentForgotten || ends != 0 && now >= ends:
		return sale.Ended
	case s.Intent == store.IntentPaused:
		return sale.Paused
	case known:
		return info.Phase(now)
	case now < millisOf(s.OpensAt):
		return sale.Upcoming
	case s.Acknowledged == 0:
		return sale.Paused // the counter has not been told of it yet: nothing can be bought
	default:
		return sale.Open
	}
}

// roughly keeps two digits, so that the figure says how things stand and not who just bought.
func roughly(units int64) int64 {
	step := int64(1)
	for units/step >= 100 {
		step *= 10
	}
	return units / step * step
}
