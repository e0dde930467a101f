package main

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// shop takes, keeps and frees orders.
type shop struct {
	tickets map[string]string // secrets by key id
	counter *counter
	mu      sync.Mutex // over one order's whole way: a real shop locks by order id
	orders  *journal
}

// buy is the route of kind reserve: POST /shop/{sale}/buy.
func (s *shop) buy(w http.ResponseWriter, r *http.Request) {
	t, err := verify(s.tickets, r.Header.Get("Headgate-Ticket"))
	if err != nil || t.Sale != r.PathValue("sale") {
		refuse(w, http.StatusForbidden, "this did not come through the edge")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.orders.state(t.Order) == "" { // the first time that this id is seen
		if r.PostFormValue("card") == "declined" {
			refuse(w, http.StatusPaymentRequired, "the card was declined") // the edge gives the units back
			return
		}
		if s.orders.write(order{ID: t.Order, Sale: t.Sale, User: t.User, Quantity: t.Quantity, State: "taken"}) != nil {
			http.Error(w, "the disk failed", http.StatusInternalServerError) // it may be on it: nobody knows
			return
		}
	}
	switch s.carryOn(r.Context(), t.Order); s.orders.state(t.Order) {
	case "final":
		_, _ = w.Write([]byte("thank you, order " + t.Order + "\n"))
	case "taken":
		http.Error(w, "ask again", http.StatusServiceUnavailable) // the counter is away: nobody knows yet
	default:
		refuse(w, http.StatusConflict, "this order came to nothing")
	}
}

// cancel frees a buyer's order, and with it the units.
func (s *shop) cancel(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.orders.byID[r.PathValue("order")]
	if o.ID == "" || o.User != r.Header.Get("Headgate-User") || o.State == "taken" {
		http.Error(w, "no such order", http.StatusNotFound)
		return
	}
	if o.State == "final" {
		o.State = "freeing"
		if s.orders.write(o) != nil {
			http.Error(w, "the disk failed", http.StatusInternalServerError)
			return
		}
	}
	s.carryOn(r.Context(), o.ID) // should the counter be away, settle tells it later
	_, _ = w.Write([]byte("cancelled\n"))
}

// carryOn takes an order as far as the counter lets it go. It reports whether nothing is left to do.
func (s *shop) carryOn(ctx context.Context, id string) bool {
	o := s.orders.byID[id]
	before := o.State
	switch o.State {
	case "taken":
		switch s.counter.tell(ctx, id, "CONFIRM", id) {
		case "confirmed":
			o.State = "final"
		case "expired", "released":
			o.State = "undone"
		}
	case "freeing":
		switch s.counter.tell(ctx, id, "RELEASE", id, "cancelled by the buyer") {
		case "released", "already", "expired", "forgotten":
			o.State = "freed"
		}
	}
	return o.State != before && s.orders.write(o) == nil
}

// settle carries on what was on its way, until ctx ends.
func (s *shop) settle(ctx context.Context) {
	for tick := time.NewTicker(time.Second); ; {
		s.mu.Lock()
		for _, id := range s.orders.open() {
			if !s.carryOn(ctx, id) {
				break // the counter is away: buyers have waited long enough
			}
		}
		s.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func refuse(w http.ResponseWriter, status int, why string) {
	w.Header().Set("Headgate-Outcome", "refused")
	http.Error(w, why, status)
}
