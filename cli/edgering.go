package cli

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"text/tabwriter"
	"time"

	"headgate.example/interceptor/peers"
)

// drainWithin bounds the wait for a node that hands its users over.
const drainWithin = 15 * time.Second

// DrainEdges takes each node out of the ring, one after the other.
func DrainEdges(ctx context.Context, admins []string) ([]peers.Report, error) {
	return askEdges[peers.Report](ctx, drainWithin, http.MethodPost, admins, "/edge/drain")
}

// WriteRings writes what nodes see of the ring, for people.
func WriteRings(w io.Writer, reports []peers.Report) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i := range reports {
		r := &reports[i]
		writeAgreement(out, r)
		if r.Pending > 0 || r.Careful > 0 {
			fmt.Fprintf(out, "%d partitions wait for their budgets, %d have lost them a moment ago\n", r.Pending, r.Careful)
		}
		fmt.Fprintf(out, "NODE\tSTATE\tUSERS\tRING\tCONFIG\tHOPS UNDER WAY\tNOTE\n")
		for _, m := range r.Members {
			fmt.Fprintf(out, "%s\t%s\t%.1f %%\t%s\t%.12s\t%d\t%s\n", plainText(m.Name), plainText(m.State), 100*m.Share, plainText(m.Epoch),
				plainText(m.ConfigHash), m.UnderWay, plainText(m.Cause))
		}
	}
	return out.Flush()
}

// writeAgreement says which nodes differ from the one that reports, in what, and for how long.
func writeAgreement(w io.Writer, r *peers.Report) {
	if r.Agreed {
		fmt.Fprintf(w, "%s sees ring %s: all live nodes agree\n", plainText(r.Self), plainText(r.Epoch))
		return
	}
	fmt.Fprintf(w, "%s sees ring %s; as seen from it:\n", plainText(r.Self), plainText(r.Epoch))
	if r.Odd() {
		fmt.Fprintf(w, "  %s is the one that differs: all others agree with each other\n", plainText(r.Self))
	}
	for i := range r.Members {
		switch m := &r.Members[i]; {
		case len(m.Differs) > 0:
			fmt.Fprintf(w, "  %s\n", plainText(m.Difference()))
		case m.State != peers.StateDead && m.Epoch == "":
			fmt.Fprintf(w, "  %s has not said yet which ring it has\n", plainText(m.Name))
		}
	}
	fmt.Fprintln(w, "  (it passes when each has been restarted with the same list of peers, and has taken the same configuration)")
}
