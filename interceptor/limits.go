package interceptor

import (
	"fmt"
	"time"

	"headgate.example/interceptor/ratelimit"
)

// The kinds of a user's budgets.
const (
	budgetPress = iota // orders
	budgetRetry        // repeated orders
	budgetCalls        // everything else
	userBudgets
)

// retryInterval is the least time between two retries of one user.
const retryInterval = time.Second

// prepareLimits reads the rates of users' budgets.
func (p *plan) prepareLimits() (err error) {
	l := &p.cfg.Limits
	if p.rates[budgetPress], err = ratelimit.NewRate(l.UserInterval, 1); err != nil {
		return fmt.Errorf("limits.user_interval: %w", err)
	}
	if p.rates[budgetRetry], err = ratelimit.NewRate(retryInterval, 1); err != nil {
		return err
	}
	if p.rates[budgetCalls], err = ratelimit.PerSecond(l.UserRate, int64(l.UserBurst)); err != nil {
		return fmt.Errorf("limits.user_rate: %w", err)
	}
	return nil
}
