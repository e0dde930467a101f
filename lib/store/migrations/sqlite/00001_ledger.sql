-- +goose Up

-- Registered accounts.
CREATE TABLE IF NOT EXISTS users (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    roles TEXT NOT NULL,
    created_at DATETIME NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS users_name ON users (name);

-- sold is the sum of the quantities of the active orders; stock_ceiling guards it.
CREATE TABLE IF NOT EXISTS sales (
    id TEXT NOT NULL PRIMARY KEY,
    title TEXT NOT NULL,
    description TEXT NOT NULL,
    price_minor INTEGER NOT NULL,
    currency TEXT NOT NULL,
    stock INTEGER NOT NULL,
    stock_ceiling INTEGER NOT NULL,
    sold INTEGER NOT NULL,
    limit_per_user INTEGER NOT NULL,
    opens_at DATETIME NOT NULL,
    ends_at DATETIME NULL,
    releases TEXT NOT NULL,
    hold_for_ms INTEGER NOT NULL,
    pay_within_ms INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    acknowledged INTEGER NOT NULL,
    intent TEXT NOT NULL,
    alarm TEXT NOT NULL,
    created_at DATETIME NOT NULL,
    updated_at DATETIME NOT NULL
);
CREATE INDEX IF NOT EXISTS sales_created ON sales (created_at, id);

-- What the counter is told of a sale, in the order of revision.
CREATE TABLE IF NOT EXISTS sale_changes (
    sale_id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    command TEXT NOT NULL,
    payload BLOB NOT NULL,
    created_at DATETIME NOT NULL,
    acknowledged_at DATETIME NULL,
    PRIMARY KEY (sale_id, revision)
) WITHOUT ROWID;

-- active_slot is NULL when the order keeps no units. No foreign key to sales: its share lock would
-- deadlock with the update of sold.
CREATE TABLE IF NOT EXISTS orders (
    id INTEGER NOT NULL PRIMARY KEY,
    sale_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    quantity INTEGER NOT NULL,
    active_slot INTEGER NULL,
    slot INTEGER NOT NULL,
    state TEXT NOT NULL,
    amount_minor INTEGER NOT NULL,
    currency TEXT NOT NULL,
    request_key TEXT NOT NULL,
    reason TEXT NOT NULL,
    deadline DATETIME NOT NULL,
    accepted_at DATETIME NOT NULL,
    created_at DATETIME NOT NULL,
    updated_at DATETIME NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS orders_slot ON orders (sale_id, user_id, active_slot);
CREATE INDEX IF NOT EXISTS orders_sale ON orders (sale_id, id);
CREATE INDEX IF NOT EXISTS orders_user ON orders (user_id, id);
CREATE INDEX IF NOT EXISTS orders_due ON orders (state, deadline);

-- Each change of a sale's sold; an order is sold once and freed once.
CREATE TABLE IF NOT EXISTS stock_journal (
    order_id INTEGER NOT NULL,
    kind TEXT NOT NULL,
    sale_id TEXT NOT NULL,
    units INTEGER NOT NULL,
    reason TEXT NOT NULL,
    created_at DATETIME NOT NULL,
    PRIMARY KEY (order_id, kind)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS stock_journal_sale ON stock_journal (sale_id, order_id, units);

-- Units to give back to the counter; at most one row for each order.
CREATE TABLE IF NOT EXISTS outbox (
    order_id INTEGER NOT NULL PRIMARY KEY,
    sale_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    answer TEXT NOT NULL,
    due_at DATETIME NOT NULL,
    created_at DATETIME NOT NULL,
    updated_at DATETIME NOT NULL
);
CREATE INDEX IF NOT EXISTS outbox_due ON outbox (state, due_at);
CREATE INDEX IF NOT EXISTS outbox_age ON outbox (state, created_at);
CREATE INDEX IF NOT EXISTS outbox_open ON outbox (state, order_id);

-- Attempts to pay an order.
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

-- Messages that never become orders.
CREATE TABLE IF NOT EXISTS dead_letters (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    digest TEXT NOT NULL,
    order_id INTEGER NOT NULL,
    topic TEXT NOT NULL,
    body BLOB NOT NULL,
    reason TEXT NOT NULL,
    created_at DATETIME NOT NULL,
    discarded_at DATETIME NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS dead_letters_digest ON dead_letters (digest);
CREATE INDEX IF NOT EXISTS dead_letters_open ON dead_letters (discarded_at, id);

-- Order messages that cannot be decided yet.
CREATE TABLE IF NOT EXISTS parked_messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    digest TEXT NOT NULL,
    order_id INTEGER NOT NULL,
    topic TEXT NOT NULL,
    body BLOB NOT NULL,
    reason TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    due_at DATETIME NOT NULL,
    created_at DATETIME NOT NULL,
    updated_at DATETIME NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS parked_messages_digest ON parked_messages (digest);
CREATE INDEX IF NOT EXISTS parked_messages_due ON parked_messages (due_at);
CREATE INDEX IF NOT EXISTS parked_messages_age ON parked_messages (created_at);
CREATE INDEX IF NOT EXISTS parked_messages_order ON parked_messages (order_id);

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
