INSERT INTO users (id, name, password_hash, roles, created_at) VALUES (1, 'ada', 'hash', 'admin', '2026-11-01 10:00:00.000');
INSERT INTO sales (id, title, description, price_minor, currency, stock, stock_ceiling, sold, limit_per_user, opens_at, ends_at, releases, hold_for_ms, pay_within_ms, revision, acknowledged, intent, alarm, created_at, updated_at)
  VALUES ('kettle', 'Kettle', '', 19900, 'CNY', 10, 10, 1, 1, '2026-11-01 10:00:00.000', NULL, '[]', 30000, 900000, 2, 2, 'open', '', '2026-11-01 09:00:00.000', '2026-11-01 09:00:00.000');
INSERT INTO sale_changes (sale_id, revision, command, payload, created_at, acknowledged_at) VALUES
  ('kettle', 1, 'open', '{}', '2026-11-01 09:00:00.000', '2026-11-01 09:00:00.000'), ('kettle', 2, 'resume', '', '2026-11-01 09:00:00.000', NULL);
INSERT INTO orders (id, sale_id, user_id, quantity, active_slot, slot, state, amount_minor, currency, request_key, reason, deadline, accepted_at, created_at, updated_at) VALUES
  (381000000000000001, 'kettle', '1', 1, 1, 1, 'unpaid', 19900, 'CNY', '', '', '2099-11-01 10:15:00.000', '2026-11-01 10:00:00.000', '2026-11-01 10:00:00.000', '2026-11-01 10:00:00.000'),
  (381000000000000002, 'kettle', '2', 1, NULL, 1, 'cancelled', 19900, 'CNY', 'key', 'why', '2026-11-01 10:15:00.000', '2026-11-01 10:00:00.000', '2026-11-01 10:00:00.000', '2026-11-01 10:00:00.000');
INSERT INTO stock_journal (order_id, kind, sale_id, units, reason, created_at) VALUES
  (381000000000000001, 'sold', 'kettle', 1, '', '2026-11-01 10:00:00.000'), (381000000000000002, 'sold', 'kettle', 1, '', '2026-11-01 10:00:00.000'), (381000000000000002, 'freed', 'kettle', -1, 'why', '2026-11-01 10:01:00.000');
INSERT INTO outbox (order_id, sale_id, reason, state, attempts, answer, due_at, created_at, updated_at)
  VALUES (381000000000000002, 'kettle', 'cancelled', 'due', 0, '', '2026-11-01 10:01:00.000', '2026-11-01 10:01:00.000', '2026-11-01 10:01:00.000');
INSERT INTO dead_letters (id, digest, order_id, topic, body, reason, created_at, discarded_at) VALUES (1, 'd', 0, 'orders', 'whole', 'why', '2026-11-01 10:00:00.000', NULL);
INSERT INTO parked_messages (id, digest, order_id, topic, body, reason, attempts, due_at, created_at, updated_at)
  VALUES (1, 'd', 0, 'orders', 'x', 'why', 0, '2026-11-01 10:00:00.000', '2026-11-01 10:00:00.000', '2026-11-01 10:00:00.000');
