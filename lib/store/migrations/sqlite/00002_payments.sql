-- +goose Up
-- No released version wrote a row into the first form of this table.
DROP TABLE IF EXISTS payments;

-- Attempts to pay an order. check_at is when the provider is asked next, NULL once its word is final.
CREATE TABLE IF NOT EXISTS payments (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    order_id INTEGER NOT NULL,
    provider TEXT NOT NULL,
    reference TEXT NOT NULL,
    state TEXT NOT NULL,
    amount_minor INTEGER NOT NULL,
    currency TEXT NOT NULL,
    page TEXT NOT NULL,
    expires_at DATETIME NOT NULL,
    paid_minor INTEGER NOT NULL,
    paid_at DATETIME NULL,
    attempts INTEGER NOT NULL,
    answer TEXT NOT NULL,
    check_at DATETIME NULL,
    created_at DATETIME NOT NULL,
    updated_at DATETIME NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS payments_reference ON payments (provider, reference);
CREATE INDEX IF NOT EXISTS payments_order ON payments (order_id);
CREATE INDEX IF NOT EXISTS payments_open ON payments (state, order_id);
CREATE INDEX IF NOT EXISTS payments_check ON payments (check_at);

-- Money that came and is given back; at most one row for each payment.
CREATE TABLE IF NOT EXISTS refunds (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    payment_id INTEGER NOT NULL,
    order_id INTEGER NOT NULL,
    provider TEXT NOT NULL,
    reference TEXT NOT NULL,
    amount_minor INTEGER NOT NULL,
    currency TEXT NOT NULL,
    reason TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    answer TEXT NOT NULL,
    due_at DATETIME NOT NULL,
    created_at DATETIME NOT NULL,
    updated_at DATETIME NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS refunds_payment ON refunds (payment_id);
CREATE INDEX IF NOT EXISTS refunds_due ON refunds (state, due_at);
CREATE INDEX IF NOT EXISTS refunds_open ON refunds (state, id);

-- The built-in sandbox's own books: a provider's, not ours. refunded_minor is what it gave back.
CREATE TABLE IF NOT EXISTS sandbox_payments (
    reference TEXT NOT NULL PRIMARY KEY,
    order_id INTEGER NOT NULL,
    state TEXT NOT NULL,
    amount_minor INTEGER NOT NULL,
    currency TEXT NOT NULL,
    expires_at DATETIME NOT NULL,
    paid_at DATETIME NULL,
    refunded_minor INTEGER NOT NULL,
    created_at DATETIME NOT NULL
);

-- Callbacks that the sandbox still has to deliver.
CREATE TABLE IF NOT EXISTS sandbox_callbacks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    reference TEXT NOT NULL,
    body TEXT NOT NULL,
    signature TEXT NOT NULL,
    once BOOLEAN NOT NULL,
    attempts INTEGER NOT NULL,
    due_at DATETIME NOT NULL
);
CREATE INDEX IF NOT EXISTS sandbox_callbacks_due ON sandbox_callbacks (due_at);

-- How the sandbox is told to misbehave: JSON, in one row.
CREATE TABLE IF NOT EXISTS sandbox_behaviour (
    id INTEGER NOT NULL PRIMARY KEY,
    settings TEXT NOT NULL
);

-- +goose Down
DROP TABLE IF EXISTS sandbox_behaviour;
DROP TABLE IF EXISTS sandbox_callbacks;
DROP TABLE IF EXISTS sandbox_payments;
DROP TABLE IF EXISTS refunds;
DROP TABLE IF EXISTS payments;
CREATE TABLE IF NOT EXISTS payments (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    order_id INTEGER NOT NULL,
    provider TEXT NOT NULL,
    reference TEXT NOT NULL,
    state TEXT NOT NULL,
    amount_minor INTEGER NOT NULL,
    currency TEXT NOT NULL,
    created_at DATETIME NOT NULL,
    updated_at DATETIME NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS payments_reference ON payments (provider, reference);
CREATE INDEX IF NOT EXISTS payments_order ON payments (order_id);
