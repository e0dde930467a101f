-- +goose Up
-- IF NOT EXISTS: MySQL commits each statement by itself, and a step that died half-way runs again.

-- No released version wrote a row into the first form of this table.
DROP TABLE IF EXISTS payments;

-- Attempts to pay an order. check_at is when the provider is asked next, NULL once its word is final.
CREATE TABLE IF NOT EXISTS payments (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    order_id BIGINT NOT NULL,
    provider VARCHAR(32) NOT NULL,
    reference VARCHAR(128) NOT NULL,
    state VARCHAR(16) NOT NULL,
    amount_minor BIGINT NOT NULL,
    currency VARCHAR(3) NOT NULL,
    page VARCHAR(500) NOT NULL,
    expires_at DATETIME(3) NOT NULL,
    paid_minor BIGINT NOT NULL,
    paid_at DATETIME(3) NULL,
    attempts BIGINT NOT NULL,
    answer VARCHAR(255) NOT NULL,
    check_at DATETIME(3) NULL,
    created_at DATETIME(3) NOT NULL,
    updated_at DATETIME(3) NOT NULL,
    UNIQUE KEY payments_reference (provider, reference),
    KEY payments_order (order_id),
    KEY payments_open (state, order_id),
    KEY payments_check (check_at)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Money that came and is given back; at most one row for each payment.
CREATE TABLE IF NOT EXISTS refunds (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    payment_id BIGINT NOT NULL,
    order_id BIGINT NOT NULL,
    provider VARCHAR(32) NOT NULL,
    reference VARCHAR(128) NOT NULL,
    amount_minor BIGINT NOT NULL,
    currency VARCHAR(3) NOT NULL,
    reason VARCHAR(255) NOT NULL,
    state VARCHAR(16) NOT NULL,
    attempts BIGINT NOT NULL,
    answer VARCHAR(255) NOT NULL,
    due_at DATETIME(3) NOT NULL,
    created_at DATETIME(3) NOT NULL,
    updated_at DATETIME(3) NOT NULL,
    UNIQUE KEY refunds_payment (payment_id),
    KEY refunds_due (state, due_at),
    KEY refunds_open (state, id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- The built-in sandbox's own books: a provider's, not ours. refunded_minor is what it gave back.
CREATE TABLE IF NOT EXISTS sandbox_payments (
    reference VARCHAR(128) NOT NULL PRIMARY KEY,
    order_id BIGINT NOT NULL,
    state VARCHAR(16) NOT NULL,
    amount_minor BIGINT NOT NULL,
    currency VARCHAR(3) NOT NULL,
    expires_at DATETIME(3) NOT NULL,
    paid_at DATETIME(3) NULL,
    refunded_minor BIGINT NOT NULL,
    created_at DATETIME(3) NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Callbacks that the sandbox still has to deliver.
CREATE TABLE IF NOT EXISTS sandbox_callbacks (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    reference VARCHAR(128) NOT NULL,
    body TEXT NOT NULL,
    signature VARCHAR(255) NOT NULL,
    once BOOLEAN NOT NULL,
    attempts BIGINT NOT NULL,
    due_at DATETIME(3) NOT NULL,
    KEY sandbox_callbacks_due (due_at)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- How the sandbox is told to misbehave: JSON, in one row.
CREATE TABLE IF NOT EXISTS sandbox_behaviour (
    id BIGINT NOT NULL PRIMARY KEY,
    settings TEXT NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS sandbox_behaviour;
DROP TABLE IF EXISTS sandbox_callbacks;
DROP TABLE IF EXISTS sandbox_payments;
DROP TABLE IF EXISTS refunds;
DROP TABLE IF EXISTS payments;
CREATE TABLE IF NOT EXISTS payments (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    order_id BIGINT NOT NULL,
    provider VARCHAR(32) NOT NULL,
    reference VARCHAR(128) NOT NULL,
    state VARCHAR(16) NOT NULL,
    amount_minor BIGINT NOT NULL,
    currency VARCHAR(3) NOT NULL,
    created_at DATETIME(3) NOT NULL,
    updated_at DATETIME(3) NOT NULL,
    UNIQUE KEY payments_reference (provider, reference),
    KEY payments_order (order_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
