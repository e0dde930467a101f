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
		agreed := "all live nodes agree"
		if !r.Agreed {
			agreed = "THE NODES DIFFER: in the ring or in their configuration"
		}
		fmt.Fprintf(out, "%s sees ring %s: %s\n", plainText(r.Self), plainText(r.Epoch), agreed)
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
