package embedded

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"headgate.example/lib/queue"
)

// claimer is the connection for claims and settlements, guarded by Queue.claiming.
type claimer struct {
	conn       *sql.Conn
	due        *sql.Stmt
	subscribe  *sql.Stmt
	beat       *sql.Stmt
	remove     *sql.Stmt
	hold       *sql.Stmt
	bury       *sql.Stmt
	returnAll  *sql.Stmt
	unregister *sql.Stmt

	statements []*sql.Stmt // all of them, to be closed
}

func newClaimer(ctx context.Context, db *sql.DB) (*claimer, error) {
	conn, err := prepare(ctx, db, "NORMAL")
	if err != nil {
		return nil, err
	}
	c := &claimer{conn: conn}
	for _, s := range []struct {
		into **sql.Stmt
		text string
	}{
		{&c.due, `UPDATE message SET visible_at = -1, owner = ?1, attempts = attempts + 1
			WHERE seq IN (SELECT seq FROM message WHERE topic = ?2 AND visible_at BETWEEN ?3 AND ?4 ORDER BY visible_at, seq LIMIT ?5)
			RETURNING seq, id, body, attempts, published_at, reason`},
		{&c.subscribe, `INSERT INTO subscriber (topic, beat_at) VALUES (?, ?)`},
		{&c.beat, `UPDATE subscriber SET beat_at = ? WHERE id = ?`},
		{&c.remove, `DELETE FROM message WHERE seq = ?1 AND owner = ?2`},
		{&c.hold, `UPDATE message SET visible_at = ?3, owner = 0 WHERE seq = ?1 AND owner = ?2`},
		{&c.bury, `UPDATE message SET topic = ?3, reason = ?4, visible_at = 0, owner = 0 WHERE seq = ?1 AND owner = ?2`},
		{&c.returnAll, `UPDATE message SET visible_at = 0, owner = 0 WHERE topic = ? AND visible_at = -1 AND owner = ?`},
		{&c.unregister, `DELETE FROM subscriber WHERE id = ?`},
	} {
		if *s.into, err = conn.PrepareContext(ctx, s.text); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		c.statements = append(c.statements, *s.into)
	}
	return c, nil
}

// change runs work in one transaction on the claiming connection.
func (q *Queue) change(ctx context.Context, work func(c *claimer) error) error {
	q.claiming.Lock()
	defer q.claiming.Unlock()
	if err := begin(ctx, q.claim.conn, settleTimeout); err != nil {
		return err
	}
	return finish(q.claim.conn, work(q.claim))
}

// A row is one claimed message.
type row struct {
	seq         int64
	delivery    queue.Delivery
	publishedAt int64
}

// claimDue claims up to limit messages for an owner: due delayed ones for at most half, then ready
// ones, then delayed ones again. Messages beyond the delivery limit become dead letters instead.
func (q *Queue) claimDue(ctx context.Context, owner int64, topic string, limit int) (rows []row, err error) {
	now := q.now().UnixMilli()
	_, dead := queue.LiveTopic(topic)
	err = q.change(ctx, func(c *claimer) error {
		half := max(limit/2, 1)
		if err := c.take(&rows, owner, topic, 1, now, half); err != nil {
			return err
		}
		delayedLeft := len(rows) == half
		if err := c.take(&rows, owner, topic, 0, 0, limit-len(rows)); err != nil {
			return err
		}
		if delayedLeft {
			if err := c.take(&rows, owner, topic, 1, now, limit-len(rows)); err != nil {
				return err
			}
		}
		if dead {
			return nil
		}
		kept := rows[:0]
		for _, r := range rows {
			if r.delivery.Attempts <= q.config.DeliveryLimit {
				kept = append(kept, r)
				continue
			}
			reason := fmt.Sprintf("delivered %d times without being settled (delivery limit)", r.delivery.Attempts-1)
			if _, err := c.bury.ExecContext(context.Background(), r.seq, owner, queue.DeadTopic(topic), reason); err != nil {
				return err
			}
			q.log.Error("queue: message dead-lettered", "topic", topic, "id", r.delivery.ID, "reason", reason)
		}
		rows = kept
		return nil
	})
	if err != nil {
		return nil, err
	}
	return rows, nil
}

// take claims rows with visible_at in [from, to].
func (c *claimer) take(into *[]row, owner int64, topic string, from, to int64, limit int) error {
	if limit <= 0 || to < from {
		return nil
	}
	found, err := c.due.QueryContext(context.Background(), owner, topic, from, to, limit)
	if err != nil {
		return err
	}
	defer found.Close() //nolint:errcheck // Err tells
	for found.Next() {
		var r row
		d := &r.delivery
		if err := found.Scan(&r.seq, &d.ID, &d.Body, &d.Attempts, &r.publishedAt, &d.Reason); err != nil {
			return err
		}
		*into = append(*into, r)
	}
	return found.Err()
}

// register gives a subscription its owner number.
func (q *Queue) register(ctx context.Context, topic string) (owner int64, err error) {
	err = q.change(ctx, func(c *claimer) error {
		result, err := c.subscribe.ExecContext(context.Background(), topic, q.now().UnixMilli())
		if err != nil {
			return err
		}
		owner, err = result.LastInsertId()
		return err
	})
	return owner, err
}

// beatOnce writes a sign of life for each subscription and gives back what silent owners hold. A beat
// from the future is a clock that was set back.
func (q *Queue) beatOnce(live []*subscription) error {
	now := q.now().UnixMilli()
	var freed []string
	lost := map[*subscription]int64{}
	owners := make([]int64, len(live)) // read first: whoever claims locks the subscription before the connection
	for i, s := range live {
		owners[i] = s.ownerNow()
	}
	err := q.change(context.Background(), func(c *claimer) error {
		ctx := context.Background()
		for i, s := range live {
			owner := owners[i]
			if owner == 0 {
				continue
			}
			result, err := c.beat.ExecContext(ctx, now, owner)
			if err != nil {
				return err
			}
			if n, err := result.RowsAffected(); err != nil {
				return err
			} else if n == 0 {
				lost[s] = owner
			}
		}
		var err error
		freed, err = c.reap(ctx, now)
		return err
	})
	if err != nil {
		return err
	}
	for s, owner := range lost {
		q.log.Warn("queue: a subscription was silent for too long and lost what it held", "topic", s.topic)
		s.lose(owner)
	}
	for _, topic := range freed {
		q.wake(topic)
	}
	return nil
}

// reap returns the claims of owners whose beat is older than Lease.
func (c *claimer) reap(ctx context.Context, now int64) (topics []string, err error) {
	rows, err := c.conn.QueryContext(ctx, `SELECT id, topic FROM subscriber WHERE beat_at NOT BETWEEN ? AND ?`, now-Lease.Milliseconds(), now+Lease.Milliseconds())
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // Err tells
	var owners []int64
	for rows.Next() {
		var id int64
		var topic string
		if err := rows.Scan(&id, &topic); err != nil {
			return nil, err
		}
		owners, topics = append(owners, id), append(topics, topic)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	for i, owner := range owners {
		if err := c.leave(ctx, topics[i], owner); err != nil {
			return nil, err
		}
	}
	return topics, nil
}

// leave gives back everything an owner holds and forgets it.
func (c *claimer) leave(ctx context.Context, topic string, owner int64) error {
	if _, err := c.returnAll.ExecContext(ctx, topic, owner); err != nil {
		return err
	}
	_, err := c.unregister.ExecContext(ctx, owner)
	return err
}
