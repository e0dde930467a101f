package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"headgate.example/cli"
)

func (p *program) saleCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sale",
		Short: "Create, list, open, pause, resume and close sales, change their stock",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(p.saleCreate(), p.saleList(), p.saleShow(), p.saleStock(),
		p.saleChange("open", "opened", "Open a draft: from its opening time on, buyers can buy"),
		p.saleChange("pause", "paused", "Stop selling for now; orders that were accepted stay"),
		p.saleChange("resume", "resumed", "Go on selling; clears an alarm"),
		p.saleChange("close", "closed", "End a sale for good"))
	return cmd
}

func (p *program) saleCreate() *cobra.Command {
	var s cli.NewSale
	var opens, ends string
	var releases []string
	var hold, pay time.Duration
	var open bool
	cmd := &cobra.Command{
		Use:   "create ID",
		Short: "Create a sale, as a draft unless --open is given",
		Long: "Create a sale. Moments are RFC 3339 (2026-11-11T00:00:00+08:00), a duration from now (10m), or now.\n" +
			"A release AT:UNITS puts that part of the stock on sale later; the rest is on sale from the opening.",
		Example: "  headgate sale create kettle --title \"Enamel kettle\" --stock 1000 --price 19900 --limit 1 --opens 10m --open\n" +
			"  headgate sale create lamp --stock 300 --price 29900 --opens 10m --release 10m:100 --release 15m:100",
		Args: exactly(1, "name the new sale's id"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			now := time.Now()
			s.ID = args[0]
			if s.OpensAt, err = parseMoment("opens", opens, now); err != nil {
				return err
			}
			if ends != "" {
				if s.EndsAt, err = parseMoment("ends", ends, now); err != nil {
					return err
				}
			}
			if s.Releases, err = parseReleases(releases, now); err != nil {
				return err
			}
			s.HoldFor, s.PayWithin = hold.Milliseconds(), pay.Milliseconds()
			api, err := p.api()
			if err != nil {
				return err
			}
			if err := api.CreateSale(cmd.Context(), s); err != nil {
				return fmt.Errorf("creating sale %s: %w", s.ID, err)
			}
			if open {
				if err := api.ChangeSale(cmd.Context(), s.ID, "open"); err != nil {
					return fmt.Errorf("sale %s is created, but opening it: %w", s.ID, err)
				}
			}
			return p.showSale(cmd, api, s.ID)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&s.Title, "title", "", "what shoppers see")
	flags.StringVar(&s.Description, "description", "", "what shoppers read below it")
	flags.Int64Var(&s.Stock, "stock", 0, "units for sale")
	flags.Int64Var(&s.LimitPerUser, "limit", 1, "units for one person; 0: no limit")
	flags.Int64Var(&s.PriceMinor, "price", 0, "price of a unit in the currency's minor unit (1999 is 19.99)")
	flags.StringVar(&s.Currency, "currency", "", "three letters (default: as the backend's config says)")
	flags.StringVar(&opens, "opens", "now", "when buying begins")
	flags.StringVar(&ends, "ends", "", "when it ends (default: not by itself)")
	flags.StringArrayVar(&releases, "release", nil, "`AT:UNITS`, a part of the stock that comes later; may be repeated")
	flags.DurationVar(&hold, "hold-for", 0, "how long a hold waits for its confirmation (default: as the backend's config says)")
	flags.DurationVar(&pay, "pay-within", 0, "from the order to its payment (default: as the backend's config says)")
	flags.BoolVar(&open, "open", false, "open it at once")
	must(cmd.MarkFlagRequired("stock"))
	return p.jsonFlag(cmd)
}

// parseMoment gives milliseconds since 1970.
func parseMoment(flag, text string, now time.Time) (int64, error) {
	if text == "now" {
		return now.UnixMilli(), nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		return now.Add(d).UnixMilli(), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return 0, usage("--%s: %q is no moment: want RFC 3339 (2026-11-11T00:00:00+08:00), a duration from now (10m), or now", flag, text)
	}
	return at.UnixMilli(), nil
}

func parseReleases(texts []string, now time.Time) ([]cli.Release, error) {
	var releases []cli.Release
	for _, text := range texts {
		i := strings.LastIndexByte(text, ':')
		if i < 0 {
			return nil, usage("--release: %q: want AT:UNITS, such as 10m:100", text)
		}
		at, err := parseMoment("release", text[:i], now)
		if err != nil {
			return nil, err
		}
		units, err := strconv.ParseInt(text[i+1:], 10, 64)
		if err != nil || units < 1 {
			return nil, usage("--release: %q: the units must be a whole number from 1", text)
		}
		releases = append(releases, cli.Release{At: at, Units: units})
	}
	return releases, nil
}

func (p *program) saleList() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the sales, newest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := p.api()
			if err != nil {
				return err
			}
			sales, err := api.Sales(cmd.Context())
			if err != nil {
				return fmt.Errorf("listing sales: %w", err)
			}
			if p.json {
				return cli.WriteJSON(p.stdout, sales)
			}
			return cli.WriteSales(p.stdout, sales)
		},
	}
	return p.jsonFlag(cmd)
}

func (p *program) saleShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show one sale, as the ledger intends it and the counter has it",
		Args:  exactly(1, "name one sale"),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := p.api()
			if err != nil {
				return err
			}
			return p.showSale(cmd, api, args[0])
		},
	}
	return p.jsonFlag(cmd)
}

func (p *program) showSale(cmd *cobra.Command, api *cli.API, id string) error {
	s, err := api.Sale(cmd.Context(), id)
	if err != nil {
		return fmt.Errorf("reading sale %s: %w", id, err)
	}
	if p.json {
		return cli.WriteJSON(p.stdout, s)
	}
	return cli.WriteSale(p.stdout, s)
}

func (p *program) saleChange(action, done, short string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   action + " ID",
		Short: short,
		Args:  exactly(1, "name one sale"),
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := p.api()
			if err != nil {
				return err
			}
			if err := api.ChangeSale(cmd.Context(), args[0], action); err != nil {
				return fmt.Errorf("sale %s was not %s: %w", args[0], done, err)
			}
			return p.showSale(cmd, api, args[0])
		},
	}
	return p.jsonFlag(cmd)
}

func (p *program) saleStock() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stock ID TOTAL",
		Short: "Change the units for sale, those already sold included",
		Args:  exactly(2, "name a sale and its new total of units"),
		RunE: func(cmd *cobra.Command, args []string) error {
			total, err := strconv.ParseInt(args[1], 10, 64)
			if err != nil || total < 0 {
				return usage("the total must be a whole number from 0, is %q", args[1])
			}
			api, err := p.api()
			if err != nil {
				return err
			}
			if err := api.SetStock(cmd.Context(), args[0], total); err != nil {
				return fmt.Errorf("the stock of sale %s was not changed: %w", args[0], err)
			}
			return p.showSale(cmd, api, args[0])
		},
	}
	return p.jsonFlag(cmd)
}
