package backend

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"unicode/utf8"

	"headgate.example/lib/problem"
	"headgate.example/lib/queue"
	"headgate.example/lib/sale"
	"headgate.example/lib/store"
)

// maxShownBody bounds what the list shows of each message; one letter by itself is shown whole.
const maxShownBody = 4096

// What became of a dead letter that an operator settled.
const (
	letterReplayed = "replayed" // the consumer tries it again
	letterRejected = "rejected" // its order is rejected, and its units are on their way back
	letterDropped  = "dropped"  // it went without a trace in the ledger: its id has a row, or it proves none
	letterSettled  = "settled"  // it was replayed or discarded before
)

func (s *Server) registerDeadLetters(b *builder) {
	add(b, admins, "admin-list-dead-letters", http.MethodGet, "/api/admin/dead-letters", "Messages that cannot become orders", 200, s.listDeadLetters)
	add(b, admins, "admin-get-dead-letter", http.MethodGet, "/api/admin/dead-letters/{letter}", "One of them, whole, with what it stands for", 200, s.getDeadLetter)
	add(b, admins, "admin-replay-dead-letter", http.MethodPost, "/api/admin/dead-letters/{letter}/replay", "Let the consumer try it again", 200, s.replayDeadLetter)
	add(b, admins, "admin-discard-dead-letter", http.MethodPost, "/api/admin/dead-letters/{letter}/discard", "Drop it, and give its units back", 200, s.discardDeadLetter)
}

type deadLettersInput struct {
	After int64 `query:"after" required:"false" minimum:"0" doc:"The next of the page before."`
	Limit int   `query:"limit" required:"false" default:"50" minimum:"1" maximum:"200"`
}

type deadLetterView struct {
	ID        int64  `json:"id"`
	OrderID   string `json:"order_id,omitempty" doc:"Absent when the message does not prove one."`
	Topic     string `json:"topic"`
	Reason    string `json:"reason"`
	Body      string `json:"body" doc:"The message's text; in the list at most 4096 bytes of it."`
	CreatedAt int64  `json:"created_at"`
	SettledAt int64  `json:"settled_at,omitempty" doc:"When it was replayed or discarded."`
}

type deadLettersOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         struct {
		DeadLetters []deadLetterView `json:"dead_letters"`
		Next        int64            `json:"next,omitempty"`
		Waiting     int              `json:"waiting" doc:"Dead letters that are still in the queue; -1 when it does not say."`
	}
}

func (s *Server) listDeadLetters(ctx context.Context, in *deadLettersInput) (*deadLettersOutput, error) {
	limit := in.Limit
	if limit == 0 {
		limit = 50
	}
	letters, err := s.store.ListDeadLetters(ctx, in.After, limit+1)
	if err != nil {
		return nil, ledgerFailed(err)
	}
	out := &deadLettersOutput{CacheControl: "no-store"}
	if len(letters) > limit {
		letters = letters[:limit]
		out.Body.Next = letters[limit-1].ID
	}
	out.Body.DeadLetters = make([]deadLetterView, len(letters))
	for i := range letters {
		out.Body.DeadLetters[i] = viewOfLetter(&letters[i], maxShownBody)
	}
	out.Body.Waiting = queue.UnknownCount
	if depth, err := s.queue.Depth(ctx, Topic); err == nil {
		out.Body.Waiting = depth.Dead
	}
	return out, nil
}

func viewOfLetter(l *store.DeadLetter, shown int) deadLetterView {
	v := deadLetterView{
		ID: l.ID, Topic: l.Topic, Reason: l.Reason, CreatedAt: millisOf(l.CreatedAt),
		Body: strings.ToValidUTF8(string(l.Body[:min(len(l.Body), shown)]), "\uFFFD"),
	}
	if l.OrderID != 0 {
		v.OrderID = l.OrderID.String()
	}
	if l.DiscardedAt != nil {
		v.SettledAt = millisOf(*l.DiscardedAt)
	}
	return v
}

type deadLetterInput struct {
	Letter int64 `path:"letter" minimum:"1"`
}

type deadLetterOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         struct {
		deadLetterView
		BodyBase64 string        `json:"body_base64,omitempty" doc:"The bytes, when they are not text."`
		Order      *sale.Binding `json:"order,omitempty" doc:"What its ticket proves; absent when it proves nothing."`
		Refused    string        `json:"refused,omitempty" doc:"Why the message proves nothing."`
		OrderState string        `json:"order_state,omitempty" doc:"Of the order with this id in the ledger."`
	}
}

// getDeadLetter shows one letter whole, settled or not.
func (s *Server) getDeadLetter(ctx context.Context, in *deadLetterInput) (*deadLetterOutput, error) {
	letter, err := s.store.DeadLetterByID(ctx, in.Letter)
	if err != nil {
		return nil, ledgerFailed(err)
	}
	out := &deadLetterOutput{CacheControl: "no-store"}
	out.Body.deadLetterView = viewOfLetter(&letter, len(letter.Body))
	if !utf8.Valid(letter.Body) {
		out.Body.BodyBase64 = base64.StdEncoding.EncodeToString(letter.Body)
	}
	_, ticket, err := s.tickets.VerifyOrder(letter.Body)
	if err != nil {
		out.Body.Refused = err.Error()
		return out, nil
	}
	binding := ticket.Binding()
	out.Body.Order = &binding
	row, err := s.store.OrderByID(ctx, binding.Order)
	switch {
	case err == nil:
		out.Body.OrderState = string(row.State)
	case !errors.Is(err, store.ErrNotFound):
		return nil, ledgerFailed(err)
	}
	return out, nil
}

type settledOutput struct {
	Body struct {
		ID     int64  `json:"id"`
		Result string `json:"result" enum:"replayed,rejected,dropped,settled" doc:"What became of it; settled: it had been replayed or discarded before."`
	}
}

// replayDeadLetter lets the consumer decide a letter again. Repeating it is harmless.
func (s *Server) replayDeadLetter(ctx context.Context, in *deadLetterInput) (*settledOutput, error) {
	return s.settle(ctx, in.Letter, func(letter *store.DeadLetter) (string, error) {
		if letter.Topic != Topic {
			return "", problem.Newf(problem.Conflict, "Only messages of the topic %s are replayed; this one is of %s.", Topic, letter.Topic)
		}
		return letterReplayed, s.store.ReplayDeadLetter(ctx, letter.ID)
	})
}

// discardDeadLetter drops a letter. The order that its ticket proves becomes a rejected one, whose units
// go back, unless its id has a row. Repeating it is harmless.
func (s *Server) discardDeadLetter(ctx context.Context, in *deadLetterInput) (*settledOutput, error) {
	return s.settle(ctx, in.Letter, func(letter *store.DeadLetter) (string, error) {
		var accepted *store.Accepted
		if _, ticket, err := s.tickets.VerifyOrder(letter.Body); err == nil {
			accepted = &store.Accepted{Binding: ticket.Binding(), Key: ticket.Key}
		}
		rejected, err := s.store.DiscardDeadLetter(ctx, letter.ID, accepted)
		if rejected {
			return letterRejected, err
		}
		return letterDropped, err
	})
}

// settle carries out what an operator decided about a letter, counts and logs it.
func (s *Server) settle(ctx context.Context, id int64, do func(*store.DeadLetter) (string, error)) (*settledOutput, error) {
	letter, err := s.store.DeadLetterByID(ctx, id)
	if err != nil {
		return nil, ledgerFailed(err)
	}
	result := letterSettled
	if letter.DiscardedAt == nil {
		result, err = do(&letter)
		if errors.Is(err, store.ErrNotFound) { // by somebody else, meanwhile
			result, err = letterSettled, nil
		}
		if err != nil {
			return nil, ledgerFailed(err)
		}
	}
	if result != letterSettled {
		s.metrics.letters[result].Inc()
		s.log.Info("a dead letter was settled", "letter", id, "result", result, "order", letter.OrderID, "reason", letter.Reason, "operator", identityOf(ctx).User)
	}
	out := &settledOutput{}
	out.Body.ID, out.Body.Result = id, result
	return out, nil
}
