// Package open picks the payment provider that a config names.
package open

import (
	"fmt"

	"headgate.example/lib/payment"
	"headgate.example/lib/payment/sandbox"
	"headgate.example/lib/store"
)

// Open gives the provider of cfg, nil when it names none. The sandbox keeps its books in the ledger's
// database.
func Open(cfg payment.Config, ledger *store.Store) (payment.Provider, error) {
	switch cfg.Provider {
	case "":
		return nil, nil //nolint:nilnil // no provider is a choice
	case payment.Sandbox:
		return sandbox.New(cfg.Sandbox, ledger)
	}
	return nil, fmt.Errorf("payment: %q is no provider", cfg.Provider)
}
