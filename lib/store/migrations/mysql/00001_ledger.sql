-- +goose Up
-- IF NOT EXISTS: MySQL commits each statement by itself, and a step that died half-way runs again.

-- Registered accounts.
CREATE TABLE IF NOT EXISTS users (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name VARCHAR(64) NOT NULL,
    password_hash VARCHAR(255) NOT NULL,
    roles VARCHAR(255) NOT NULL,
    created_at DATETIME(3) NOT NULL,
    UNIQUE KEY users_name (name)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- sold is the sum of the quantities of the active orders; stock_ceiling guards it.
CREATE TABLE IF NOT EXISTS sales (
    id VARCHAR(64) NOT NULL PRIMARY KEY,
    title VARCHAR(200) NOT NULL,
    description TEXT NOT NULL,
    price_minor BIGINT NOT NULL,
    currency VARCHAR(3) NOT NULL,
    stock BIGINT NOT NULL,
    stock_ceiling BIGINT NOT NULL,
    sold BIGINT NOT NULL,
    limit_per_user BIGINT NOT NULL,
    opens_at DATETIME(3) NOT NULL,
    ends_at DATETIME(3) NULL,
    releases TEXT NOT NULL,
    hold_for_ms BIGINT NOT NULL,
    pay_within_ms BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    acknowledged BIGINT NOT NULL,
    intent VARCHAR(16) NOT NULL,
    alarm VARCHAR(1000) NOT NULL,
    created_at DATETIME(3) NOT NULL,
    updated_at DATETIME(3) NOT NULL,
    KEY sales_created (created_at, id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- What the counter is told of a sale, in the order of revision.
CREATE TABLE IF NOT EXISTS sale_changes (
    sale_id VARCHAR(64) NOT NULL,
    revision BIGINT NOT NULL,
    command VARCHAR(16) NOT NULL,
    payload MEDIUMBLOB NOT NULL,
    created_at DATETIME(3) NOT NULL,
    acknowledged_at DATETIME(3) NULL,
    PRIMARY KEY (sale_id, revision)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- active_slot is NULL when the order keeps no units. No foreign key to sales: its share lock would
-- deadlock with the update of sold.
CREATE TABLE IF NOT EXISTS orders (
    id BIGINT NOT NULL PRIMARY KEY,
    sale_id VARCHAR(64) NOT NULL,
    user_id VARCHAR(64) NOT NULL,
    quantity BIGINT NOT NULL,
    active_slot BIGINT NULL,
    slot BIGINT NOT NULL,
    state VARCHAR(16) NOT NULL,
    amount_minor BIGINT NOT NULL,
    currency VARCHAR(3) NOT NULL,
    request_key VARCHAR(64) NOT NULL,
    reason VARCHAR(255) NOT NULL,
    deadline DATETIME(3) NOT NULL,
    accepted_at DATETIME(3) NOT NULL,
    created_at DATETIME(3) NOT NULL,
    updated_at DATETIME(3) NOT NULL,
    UNIQUE KEY orders_slot (sale_id, user_id, active_slot),
    KEY orders_sale (sale_id, id),
    KEY orders_user (user_id, id),
    KEY orders_due (state, deadline)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Each change of a sale's sold; an order is sold once and freed once.
CREATE TABLE IF NOT EXISTS stock_journal (
    order_id BIGINT NOT NULL,
    kind VARCHAR(16) NOT NULL,
    sale_id VARCHAR(64) NOT NULL,
    units BIGINT NOT NULL,
    reason VARCHAR(255) NOT NULL,
    created_at DATETIME(3) NOT NULL,
    PRIMARY KEY (order_id, kind),
    KEY stock_journal_sale (sale_id, order_id, units)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Units to give back to the counter; at most one row for each order.
CREATE TABLE IF NOT EXISTS outbox (
    order_id BIGINT NOT NULL PRIMARY KEY,
    sale_id VARCHAR(64) NOT NULL,
    reason VARCHAR(255) NOT NULL,
    state VARCHAR(16) NOT NULL,
    attempts BIGINT NOT NULL,
    answer VARCHAR(255) NOT NULL,
    due_at DATETIME(3) NOT NULL,
    created_at DATETIME(3) NOT NULL,
    updated_at DATETIME(3) NOT NULL,
    KEY outbox_due (state, due_at),
    KEY outbox_age (state, created_at),
    KEY outbox_open (state, order_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Attempts to pay an order.
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

-- Messages that never become orders.
CREATE TABLE IF NOT EXISTS dead_letters (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    digest VARCHAR(64) NOT NULL,
    order_id BIGINT NOT NULL,
    topic VARCHAR(64) NOT NULL,
    body MEDIUMBLOB NOT NULL,
    reason VARCHAR(255) NOT NULL,
    created_at DATETIME(3) NOT NULL,
    discarded_at DATETIME(3) NULL,
    UNIQUE KEY dead_letters_digest (digest),
    KEY dead_letters_open (discarded_at, id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Order messages that cannot be decided yet.
CREATE TABLE IF NOT EXISTS parked_messages (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    digest VARCHAR(64) NOT NULL,
    order_id BIGINT NOT NULL,
    topic VARCHAR(64) NOT NULL,
    body MEDIUMBLOB NOT NULL,
    reason VARCHAR(255) NOT NULL,
    attempts BIGINT NOT NULL,
    due_at DATETIME(3) NOT NULL,
    created_at DATETIME(3) NOT NULL,
    updated_at DATETIME(3) NOT NULL,
    UNIQUE KEY parked_messages_digest (digest),
    KEY parked_messages_due (due_at),
    KEY parked_messages_age (created_at),
    KEY parked_messages_order (order_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS parked_messages;
DROP TABLE IF EXISTS dead_letters;
DROP TABLE IF EXISTS payments;
DROP TABLE IF EXISTS outbox;
DROP TABLE IF EXISTS stock_journal;
DROP TABLE IF EXISTS orders;
DROP TABLE IF EXISTS sale_changes;
DROP TABLE IF EXISTS sales;
DROP TABLE IF EXISTS users;
