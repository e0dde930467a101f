package backend

import (
	"cmp"
	"context"
	"net/netip"
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
	if ban.Until != 0 && ban.Until <= s.now().UnixMilli() {
		return nil, invalid("until", "must be in the future, or 0 for good")
	}
	if err := s.counter.Ban(ctx, ban.Kind, ban.Value, ban.Until, ban.Reason); err != nil {
		return nil, counterFailed(err)
	}
	s.log.Info("banned", "kind", ban.Kind, "value", ban.Value, "until", ban.Until, "by", identityOf(ctx).User)
	return &banOutput{Status: 201, CacheControl: "no-store", Body: ban}, nil
}

func (s *Server) removeBanByQuery(ctx context.Context, in *unbanQueryInput) (*struct{}, error) {
	return s.removeBan(ctx, &unbanInput{Kind: in.Kind, Value: in.Value})
}

// removeBan takes a ban back; one that does not stand is no error.
func (s *Server) removeBan(ctx context.Context, in *unbanInput) (*struct{}, error) {
	value, err := banValue(in.Kind, in.Value)
	if err != nil {
		return nil, err
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
		if !bans || rule.Removed || rule.Until != 0 && rule.Until <= rules.Now {
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
	if network, err := netip.ParsePrefix(value); err == nil {
		return network.Masked().String(), nil
	}
	address, err := netip.ParseAddr(value)
	if err != nil || address.Zone() != "" {
		return "", invalid("value", "must be an IP address or a network such as 192.0.2.0/24")
	}
	return address.Unmap().String(), nil
}

type revokeInput struct {
	User string `path:"user" maxLength:"64"`
}

type revokeOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         struct {
		User   string `json:"user"`
		Before int64  `json:"before" doc:"Tokens issued before this are void; milliseconds since 1970."`
	}
}

// revokeUser signs a user out everywhere: every token issued until now is void.
func (s *Server) revokeUser(ctx context.Context, in *revokeInput) (*revokeOutput, error) {
	if err := sale.CheckUser(in.User); err != nil {
		return nil, invalid("user", "must be a user id: 1 to 64 printable characters without spaces")
	}
	before := s.now().Add(time.Millisecond).UnixMilli() // tokens of this very millisecond, too
	if err := s.counter.Revoke(ctx, in.User, before); err != nil {
		return nil, counterFailed(err)
	}
	s.log.Info("tokens revoked", "user", in.User, "before", before, "by", identityOf(ctx).User)
	out := &revokeOutput{CacheControl: "no-store"}
	out.Body.User, out.Body.Before = in.User, before
	return out, nil
}
