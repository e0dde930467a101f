package store

import (
	"context"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// dueRows says where a table keeps work that is given out.
type dueRows struct {
	key   string // column of the primary key
	due   string // column: from when on the row is to be worked on; NULL: never
	state string // only rows in this state, when it is not empty
	bare  bool   // there is no updated_at
}

// leased is a row that can be claimed.
type leased[T any] interface {
	*T
	// claimed notes an attempt that begins now, by the database's clock, and gives the row's key.
	claimed(now time.Time) (key int64)
}

// claim takes up to limit due rows, those due longest first, and makes them due again after lease: a
// worker that dies loses nothing, and two workers seldom do the same work, which must be harmless. Rows
// that another worker is claiming at this moment are passed over.
func claim[T any, P leased[T]](ctx context.Context, s *Store, rows dueRows, limit int, lease time.Duration) ([]T, error) {
	var taken []T
	err := s.transact(ctx, func(tx *gorm.DB) error {
		taken = nil
		now, err := s.now(tx)
		if err != nil {
			return err
		}
		query := tx.Clauses(skipLocked())
		if rows.state != "" {
			query = query.Where("state = ?", rows.state)
		}
		err = query.Where(rows.due+" <= ?", now).Order(rows.due + ", " + rows.key).Limit(page(limit)).Find(&taken).Error
		if err != nil || len(taken) == 0 {
			return err
		}
		keys := make([]int64, len(taken))
		for i := range taken {
			keys[i] = P(&taken[i]).claimed(now)
		}
		changes := map[string]any{rows.due: now.Add(lease), "attempts": gorm.Expr("attempts + 1")}
		if !rows.bare {
			changes["updated_at"] = now
		}
		return tx.Model(new(T)).Where(rows.key+" IN ?", keys).UpdateColumns(changes).Error
	})
	return taken, err
}

// skipLocked passes over rows that another transaction has locked at this moment.
func skipLocked() clause.Locking {
	return clause.Locking{Strength: clause.LockingStrengthUpdate, Options: clause.LockingOptionsSkipLocked}
}
