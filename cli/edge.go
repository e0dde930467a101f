package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"headgate.example/interceptor"
)

// edgeTimeout bounds one question to a node.
const edgeTimeout = 5 * time.Second

// AskEdges asks the admin port of each node for a page. What some nodes answered comes with the error
// about the others.
func AskEdges[T any](ctx context.Context, admins []string, page string) (views []T, err error) {
	return askEdges[T](ctx, edgeTimeout, http.MethodGet, admins, page)
}

func askEdges[T any](ctx context.Context, within time.Duration, method string, admins []string, page string) (views []T, err error) {
	client := &http.Client{Timeout: within}
	defer client.CloseIdleConnections()
	var failed []error
	for _, admin := range admins {
		var view T
		if err := askEdge(ctx, client, method, admin, page, &view); err != nil {
			failed = append(failed, fmt.Errorf("node at %s: %w", admin, err))
			continue
		}
		views = append(views, view)
	}
	return views, errors.Join(failed...)
}

func askEdge(ctx context.Context, client *http.Client, method, admin, page string, view any) error {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+admin+page, nil)
	if err != nil {
		return fmt.Errorf("admin: %q is no address: %w", admin, err)
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("it does not answer: %w", unwrapURL(err))
	}
	defer response.Body.Close() //nolint:errcheck // only read
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	if err != nil {
		return fmt.Errorf("reading its answer: %w", err)
	}
	if response.StatusCode == http.StatusNotFound {
		return errors.New("this is not the admin port of an interceptor")
	}
	return decodeAnswer(response.StatusCode, text, view)
}

// WriteUsers writes what nodes know of a user, for people.
func WriteUsers(w io.Writer, views []interceptor.UserView) error {
	for i := range views {
		v := &views[i]
		fmt.Fprintf(w, "%s at node %s; budgets are kept by node %s\n", plainText(v.User), plainText(v.Node), plainText(v.Owner))
		if v.RevokedBefore != 0 {
			fmt.Fprintf(w, "tokens from before %s are void\n", moment(v.RevokedBefore))
		}
		if len(v.Bans) == 0 {
			fmt.Fprintln(w, "not banned")
		}
		for j := range v.Bans {
			fmt.Fprintln(w, "BANNED", describeBan(&v.Bans[j]))
		}
		out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(out, "BUDGET\tLEFT\tOF\tFULL IN\tMODE")
		for _, b := range v.Budgets {
			fmt.Fprintf(out, "%s\t%d\t%d\t%s\t%s\n", plainText(b.Name), b.Left, b.Of, time.Duration(b.FullIn)*time.Millisecond, plainText(b.Mode))
		}
		if err := out.Flush(); err != nil {
			return err
		}
		if len(v.Refusals) == 0 {
			fmt.Fprintln(w, "no refusal is remembered")
			continue
		}
		if err := WriteRefusals(w, []interceptor.RefusalsView{{Node: v.Node, Refusals: v.Refusals}}); err != nil {
			return err
		}
	}
	return nil
}

func describeBan(b *interceptor.BanView) string {
	until := "for good"
	if b.Until != 0 {
		until = "until " + moment(b.Until)
	}
	by := "by an operator"
	if b.Strikes > 0 {
		by = fmt.Sprintf("by this node, after %d strikes", b.Strikes)
	}
	text := until + " " + by
	if b.Reason != "" {
		text += ": " + plainText(b.Reason)
	}
	return text
}

// WriteRefusals writes refused requests as a table for people.
func WriteRefusals(w io.Writer, views []interceptor.RefusalsView) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "WHEN\tNODE\tCODE\tTIMES\tSTAGE\tROUTE\tUSER\tADDRESS\tREQUEST\tDETAIL")
	for _, v := range views {
		for _, r := range v.Refusals {
			when := time.UnixMilli(r.At).Local().Format("2006-01-02 15:04:05.000")
			fmt.Fprintf(out, "%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\n", when, plainText(v.Node), plainText(r.Code), max(1, r.Times), dash(r.Stage), dash(r.Route),
				dash(r.User), dash(r.Address), plainText(r.Request), plainText(r.Detail))
		}
	}
	return out.Flush()
}

// dash stands for what is not there.
func dash(text string) string {
	if text == "" {
		return "-"
	}
	return plainText(text)
}

// WriteTop writes who asks most, for people.
func WriteTop(w io.Writer, views []interceptor.TopView) error {
	for i := range views {
		v := &views[i]
		fmt.Fprintf(w, "node %s, the last %.0f s; estimates, since one request in %d is counted\n", plainText(v.Node), v.Seconds, v.Sample)
		out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, part := range []struct {
			title string
			list  []interceptor.TalkerView
		}{{"USER", v.Users}, {"ADDRESS", v.Addresses}} {
			fmt.Fprintf(out, "%s\tREQUESTS\tA SECOND\tREFUSED\n", part.title)
			for _, t := range part.list {
				sure := ""
				if t.Surplus > 0 {
					sure = fmt.Sprintf(" (at least %d)", t.Requests-t.Surplus)
				}
				fmt.Fprintf(out, "%s\t%d%s\t%.1f\t%d\n", plainText(t.Key), t.Requests, sure, float64(t.Requests)/max(1, v.Seconds), t.Refused)
			}
		}
		if err := out.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// WriteEdgeBans writes the bans that nodes enforce, for people.
func WriteEdgeBans(w io.Writer, views []interceptor.BansView) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "NODE\tKIND\tVALUE\tBANNED")
	var notes []string
	for i := range views {
		v := &views[i]
		for j := range v.Bans {
			b := &v.Bans[j]
			fmt.Fprintf(out, "%s\t%s\t%s\t%s\n", plainText(v.Node), plainText(b.Kind), dash(b.Value), describeBan(b))
		}
		if len(v.Bans) < v.Total {
			notes = append(notes, fmt.Sprintf("node %s: %d of %d are shown (see --limit)\n", plainText(v.Node), len(v.Bans), v.Total))
		}
		if !v.Known {
			notes = append(notes, fmt.Sprintf("node %s has not heard from the control shard yet: operators' bans are not known there\n", plainText(v.Node)))
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(w, strings.Join(notes, ""))
	return err
}
