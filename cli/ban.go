package cli

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"

	"headgate.example/counter/client"
	"headgate.example/lib/sale"
)

// Ban keeps a user or an address away. Until is milliseconds since 1970; 0: for good.
type Ban struct {
	Kind   string `json:"kind"` // user or address
	Value  string `json:"value"`
	Until  int64  `json:"until,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// BanKind tells whether a value is an address, or network of addresses, or a user.
func BanKind(value string) string {
	if _, err := sale.ParseNetwork(value); err == nil {
		return client.RuleAddress
	}
	return client.RuleUser
}

// Ban sets a ban; an earlier one of the same value is replaced.
func (a *API) Ban(ctx context.Context, b Ban) error {
	return a.Call(ctx, http.MethodPost, "/api/admin/bans", b, nil)
}

// Unban takes a ban back; one that does not stand is no error.
func (a *API) Unban(ctx context.Context, kind, value string) error {
	// The edge takes no escaped slash, which a network has.
	value = strings.ReplaceAll(url.QueryEscape(value), "%2F", "/")
	return a.Call(ctx, http.MethodDelete, "/api/admin/bans?kind="+kind+"&value="+value, nil, nil)
}

// Bans lists what stands.
func (a *API) Bans(ctx context.Context) ([]Ban, error) {
	var list struct {
		Bans []Ban `json:"bans"`
	}
	err := a.Call(ctx, http.MethodGet, "/api/admin/bans", nil, &list)
	return list.Bans, err
}

// SignOut voids every token of a user that was issued until now, at every edge within a moment.
func (a *API) SignOut(ctx context.Context, user string) error {
	return a.Call(ctx, http.MethodPost, "/api/admin/revocations", map[string]string{"user": user}, nil)
}

// WriteBans writes bans as a table for people.
func WriteBans(w io.Writer, bans []Ban) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "KIND\tVALUE\tUNTIL\tREASON")
	for _, b := range bans {
		until := "for good"
		if b.Until != 0 {
			until = moment(b.Until)
		}
		fmt.Fprintf(out, "%s\t%s\t%s\t%s\n", b.Kind, plainText(b.Value), until, plainText(b.Reason))
	}
	return out.Flush()
}
