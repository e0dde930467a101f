package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"headgate.example/backend/accounts"
	"headgate.example/lib/auth"
	"headgate.example/lib/store"
)

// seed gives a new data folder its accounts and sales. Each step may find its work done by an
// interrupted run before it.
func seed(ctx context.Context, cfg *Config, folder *Folder, api *API, log *slog.Logger) error {
	demo, err := folder.Accounts()
	if err != nil {
		return err
	}
	if err := seedAccounts(ctx, cfg.Backend.Database, demo, log); err != nil {
		return fmt.Errorf("seeding the accounts: %w", err)
	}
	now := time.Now().Truncate(time.Second)
	for _, s := range demoSales(now) {
		if err := api.OpenSale(ctx, s); err != nil {
			return fmt.Errorf("seeding sale %s: %w", s.ID, err)
		}
	}
	return folder.seeded()
}

// seedAccounts writes into the ledger itself, since nobody can register with a role.
func seedAccounts(ctx context.Context, database store.Config, demo []Account, log *slog.Logger) error {
	ledger, err := store.Open(ctx, database, log)
	if err != nil {
		return err
	}
	defer ledger.Close() //nolint:errcheck // every write has been answered
	book := accounts.New(ledger, nil, auth.NewPasswords(0))
	for _, a := range demo {
		_, err := book.Create(ctx, a.Name, a.Password, a.Roles)
		if err != nil && !errors.Is(err, store.ErrDuplicate) {
			return fmt.Errorf("account %s: %w", a.Name, err)
		}
	}
	return nil
}

// demoSales are one that is open now, and one that opens soon and comes on sale in parts.
func demoSales(now time.Time) []NewSale {
	opens := now.Add(10 * time.Minute)
	return []NewSale{
		{
			ID: "1", Title: "Enamel kettle", Description: "A thousand of them, one for each person, on sale now.",
			PriceMinor: 19_900, Stock: 1000, LimitPerUser: 1, OpensAt: now.UnixMilli(),
		},
		{
			ID: "2", Title: "Field lantern", Description: "Comes on sale in three parts, five minutes apart.",
			PriceMinor: 29_900, Stock: 300, LimitPerUser: 1, OpensAt: opens.UnixMilli(),
			Releases: []Release{
				{At: opens.UnixMilli(), Units: 100},
				{At: opens.Add(5 * time.Minute).UnixMilli(), Units: 100},
				{At: opens.Add(10 * time.Minute).UnixMilli(), Units: 100},
			},
		},
	}
}
