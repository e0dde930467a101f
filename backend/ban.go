package backend

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"headgate.example/counter/client"
	"headgate.example/lib/sale"
)

// banView is a ban. It stands in the counter's log, from where every edge fetches it.
type banView struct {
	Kind   string `json:"kind" enum:"user,address"`
	Value  string `json:"value" minLength:"1" maxLength:"64" doc:"A user id, an IP address, or a network such as 192.0.2.0/24."`
	Until  int64  `json:"until,omitempty" minimum:"0" doc:"Milliseconds since 1970; 0 or absent: for good."`
	Reason string `json:"reason,omitempty" maxLength:"256"`
}

type banInput struct{ Body banView }

type banOutput struct {
	Status       int
	CacheControl string `header:"Cache-Control"`
	Body         banView
}

type bansOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         struct {
		Bans []banView `json:"bans"`
	}
}

type unbanInput struct {
	Kind  string `path:"kind" enum:"user,address"`
	Value string `path:"value" maxLength:"64" doc:"For a network use the form with a query: edges refuse escaped slashes."`
}

type unbanQueryInput struct {
	Kind  string `query:"kind" required:"true" enum:"user,address"`
	Value string `query:"value" required:"true" minLength:"1" maxLength:"64"`
}

func (s *Server) addBan(ctx context.Context, in *banInput) (*banOutput, error) {
	ban := in.Body
	value, err := banValue(ban.Kind, ban.Value)
	if err != nil {
		return nil, err
	}
	ban.Value = value
	if err := spares(identityOf(ctx), &ban); err != nil {
		return nil, err
	}
	if ban.Reason == client.ReasonLift {
		return nil, invalid("reason", "is one that the system uses for itself")
	}
	if ban.Until != 0 && ban.Until <= s.now().UnixMilli() {
		return nil, invalid("until", "must be in the future, or 0 for good")
	}
	if err := s.counter.Ban(ctx, ban.Kind, ban.Value, ban.Until, ban.Reason); err != nil {
		return nil, counterFailed(err)
	}
	s.log.Info("banned", "kind", ban.Kind, "value", ban.Value, "until", ban.Until, "reason", ban.Reason, "by", identityOf(ctx).User)
	return &banOutput{Status: 201, CacheControl: "no-store", Body: ban}, nil
}

func (s *Server) removeBanByQuery(ctx context.Context, in *unbanQueryInput) (*struct{}, error) {
	return s.removeBan(ctx, &unbanInput{Kind: in.Kind, Value: in.Value})
}

// liftFor is how long a rule that lifts bans would stand, should its removal fail. It bans nobody.
const liftFor = time.Hour

// removeBan takes a ban back, and the bans that edges made of the value by themselves. One that does not
// stand is no error. The counter tells edges what changes: where no ban stands, a rule that bans nobody
// is set first, so that its removal reaches them.
func (s *Server) removeBan(ctx context.Context, in *unbanInput) (*struct{}, error) {
	value, err := banValue(in.Kind, in.Value)
	if err != nil {
		return nil, err
	}
	until := s.now().Add(liftFor).UnixMilli()
	if err := s.counter.Ban(ctx, in.Kind, value, until, client.ReasonLift); err != nil && !errors.Is(err, client.ErrBusy) {
		return nil, counterFailed(err) // busy: as many rules as there may be; the ban itself is taken back below
	}
	if err := s.counter.Unban(ctx, in.Kind, value); err != nil {
		return nil, counterFailed(err)
	}
	s.log.Info("ban taken back", "kind", in.Kind, "value", value, "by", identityOf(ctx).User)
	return nil, nil
}

func (s *Server) listBans(ctx context.Context, _ *struct{}) (*bansOutput, error) {
	rules, err := s.counter.Rules(ctx, 0)
	if err != nil {
		return nil, counterFailed(err)
	}
	out := &bansOutput{CacheControl: "no-store"}
	out.Body.Bans = []banView{}
	for _, rule := range rules.Changes {
		bans := rule.Kind == client.RuleUser || rule.Kind == client.RuleAddress
		if !bans || rule.Removed || rule.Lifts() || rule.Until != 0 && rule.Until <= rules.Now {
			continue
		}
		out.Body.Bans = append(out.Body.Bans, banView{Kind: rule.Kind, Value: rule.Value, Until: rule.Until, Reason: rule.Reason})
	}
	slices.SortFunc(out.Body.Bans, func(a, b banView) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Value, b.Value))
	})
	return out, nil
}

// banValue checks a value and gives its one form, so that a ban and its removal name the same.
func banValue(kind, value string) (string, error) {
	if kind == client.RuleUser {
		if err := sale.CheckUser(value); err != nil {
			return "", invalid("value", "must be a user id: 1 to 64 printable characters without spaces")
		}
		return value, nil
	}
	network, err := sale.ParseNetwork(value)
	var wrong *sale.FieldError
	if errors.As(err, &wrong) {
		return "", invalid("value", wrong.Reason)
	}
	return sale.NetworkText(network), nil
}

// The widest networks that may be banned: 16 million IPv4 addresses, or what a provider has of IPv6.
const (
	widestIPv4 = 8
	widestIPv6 = 16
)

// spares refuses a ban by which its operator would lock himself out, since taking it back goes through
// the same edge, and one of half the world.
func spares(by Identity, ban *banView) error {
	if ban.Kind == client.RuleUser {
		if ban.Value == by.User {
			return invalid("value", "is yourself: you could not take it back")
		}
		return nil
	}
	network, err := sale.ParseNetwork(ban.Value)
	if err != nil {
		return err
	}
	widest := widestIPv6
	if network.Addr().Is4() {
		widest = widestIPv4
	}
	switch {
	case network.Bits() < widest:
		return invalid("value", fmt.Sprintf("is too wide: at most a /%d of its kind may be banned at once", widest))
	case network.Contains(by.Address):
		return invalid("value", "holds the address that you come from: you could not take it back")
	}
	return nil
}
