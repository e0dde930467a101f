CREATE TABLE dead_letters (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    digest TEXT NOT NULL,
    order_id INTEGER NOT NULL,
    topic TEXT NOT NULL,
    body BLOB NOT NULL,
    reason TEXT NOT NULL,
    created_at DATETIME NOT NULL,
    discarded_at DATETIME NULL
);

CREATE TABLE goose_db_version (
		id INTEGER PRIMARY KEY AUTOINCREMENT,
		version_id INTEGER NOT NULL,
		is_applied INTEGER NOT NULL,
		tstamp TIMESTAMP DEFAULT (datetime('now'))
	);

CREATE TABLE orders (
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

CREATE TABLE outbox (
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

CREATE TABLE parked_messages (
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

CREATE TABLE payments (
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

CREATE TABLE sale_changes (
    sale_id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    command TEXT NOT NULL,
    payload BLOB NOT NULL,
    created_at DATETIME NOT NULL,
    acknowledged_at DATETIME NULL,
    PRIMARY KEY (sale_id, revision)
) WITHOUT ROWID;

CREATE TABLE sales (
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

CREATE TABLE stock_journal (
    order_id INTEGER NOT NULL,
    kind TEXT NOT NULL,
    sale_id TEXT NOT NULL,
    units INTEGER NOT NULL,
    reason TEXT NOT NULL,
    created_at DATETIME NOT NULL,
    PRIMARY KEY (order_id, kind)
) WITHOUT ROWID;

CREATE TABLE users (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    roles TEXT NOT NULL,
    created_at DATETIME NOT NULL
);

CREATE UNIQUE INDEX dead_letters_digest ON dead_letters (digest);

CREATE INDEX dead_letters_open ON dead_letters (discarded_at, id);

CREATE INDEX orders_due ON orders (state, deadline);

CREATE INDEX orders_sale ON orders (sale_id, id);

CREATE UNIQUE INDEX orders_slot ON orders (sale_id, user_id, active_slot);

CREATE INDEX orders_user ON orders (user_id, id);

CREATE INDEX outbox_age ON outbox (state, created_at);

CREATE INDEX outbox_due ON outbox (state, due_at);

CREATE INDEX outbox_open ON outbox (state, order_id);

CREATE INDEX parked_messages_age ON parked_messages (created_at);

CREATE UNIQUE INDEX parked_messages_digest ON parked_messages (digest);

CREATE INDEX parked_messages_due ON parked_messages (due_at);

CREATE INDEX parked_messages_order ON parked_messages (order_id);

CREATE INDEX payments_order ON payments (order_id);

CREATE UNIQUE INDEX payments_reference ON payments (provider, reference);

CREATE INDEX sales_created ON sales (created_at, id);

CREATE INDEX stock_journal_sale ON stock_journal (sale_id, order_id, units);

CREATE UNIQUE INDEX users_name ON users (name);
