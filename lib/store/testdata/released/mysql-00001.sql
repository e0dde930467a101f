CREATE TABLE `dead_letters` (
  `id` bigint(20) NOT NULL AUTO_INCREMENT,
  `digest` varchar(64) NOT NULL,
  `order_id` bigint(20) NOT NULL,
  `topic` varchar(64) NOT NULL,
  `body` mediumblob NOT NULL,
  `reason` varchar(255) NOT NULL,
  `created_at` datetime(3) NOT NULL,
  `discarded_at` datetime(3) DEFAULT NULL,
  PRIMARY KEY (`id`),
  UNIQUE KEY `dead_letters_digest` (`digest`),
  KEY `dead_letters_open` (`discarded_at`,`id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE `goose_db_version` (
  `id` bigint(20) unsigned NOT NULL AUTO_INCREMENT,
  `version_id` bigint(20) NOT NULL,
  `is_applied` tinyint(1) NOT NULL,
  `tstamp` datetime DEFAULT current_timestamp(),
  PRIMARY KEY (`id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci;

CREATE TABLE `orders` (
  `id` bigint(20) NOT NULL,
  `sale_id` varchar(64) NOT NULL,
  `user_id` varchar(64) NOT NULL,
  `quantity` bigint(20) NOT NULL,
  `active_slot` bigint(20) DEFAULT NULL,
  `slot` bigint(20) NOT NULL,
  `state` varchar(16) NOT NULL,
  `amount_minor` bigint(20) NOT NULL,
  `currency` varchar(3) NOT NULL,
  `request_key` varchar(64) NOT NULL,
  `reason` varchar(255) NOT NULL,
  `deadline` datetime(3) NOT NULL,
  `accepted_at` datetime(3) NOT NULL,
  `created_at` datetime(3) NOT NULL,
  `updated_at` datetime(3) NOT NULL,
  PRIMARY KEY (`id`),
  UNIQUE KEY `orders_slot` (`sale_id`,`user_id`,`active_slot`),
  KEY `orders_sale` (`sale_id`,`id`),
  KEY `orders_user` (`user_id`,`id`),
  KEY `orders_due` (`state`,`deadline`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE `outbox` (
  `order_id` bigint(20) NOT NULL,
  `sale_id` varchar(64) NOT NULL,
  `reason` varchar(255) NOT NULL,
  `state` varchar(16) NOT NULL,
  `attempts` bigint(20) NOT NULL,
  `answer` varchar(255) NOT NULL,
  `due_at` datetime(3) NOT NULL,
  `created_at` datetime(3) NOT NULL,
  `updated_at` datetime(3) NOT NULL,
  PRIMARY KEY (`order_id`),
  KEY `outbox_due` (`state`,`due_at`),
  KEY `outbox_age` (`state`,`created_at`),
  KEY `outbox_open` (`state`,`order_id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE `parked_messages` (
  `id` bigint(20) NOT NULL AUTO_INCREMENT,
  `digest` varchar(64) NOT NULL,
  `order_id` bigint(20) NOT NULL,
  `topic` varchar(64) NOT NULL,
  `body` mediumblob NOT NULL,
  `reason` varchar(255) NOT NULL,
  `attempts` bigint(20) NOT NULL,
  `due_at` datetime(3) NOT NULL,
  `created_at` datetime(3) NOT NULL,
  `updated_at` datetime(3) NOT NULL,
  PRIMARY KEY (`id`),
  UNIQUE KEY `parked_messages_digest` (`digest`),
  KEY `parked_messages_due` (`due_at`),
  KEY `parked_messages_age` (`created_at`),
  KEY `parked_messages_order` (`order_id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE `payments` (
  `id` bigint(20) NOT NULL AUTO_INCREMENT,
  `order_id` bigint(20) NOT NULL,
  `provider` varchar(32) NOT NULL,
  `reference` varchar(128) NOT NULL,
  `state` varchar(16) NOT NULL,
  `amount_minor` bigint(20) NOT NULL,
  `currency` varchar(3) NOT NULL,
  `created_at` datetime(3) NOT NULL,
  `updated_at` datetime(3) NOT NULL,
  PRIMARY KEY (`id`),
  UNIQUE KEY `payments_reference` (`provider`,`reference`),
  KEY `payments_order` (`order_id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE `sales` (
  `id` varchar(64) NOT NULL,
  `title` varchar(200) NOT NULL,
  `description` text NOT NULL,
  `price_minor` bigint(20) NOT NULL,
  `currency` varchar(3) NOT NULL,
  `stock` bigint(20) NOT NULL,
  `stock_ceiling` bigint(20) NOT NULL,
  `sold` bigint(20) NOT NULL,
  `limit_per_user` bigint(20) NOT NULL,
  `opens_at` datetime(3) NOT NULL,
  `ends_at` datetime(3) DEFAULT NULL,
  `releases` text NOT NULL,
  `hold_for_ms` bigint(20) NOT NULL,
  `pay_within_ms` bigint(20) NOT NULL,
  `revision` bigint(20) NOT NULL,
  `acknowledged` bigint(20) NOT NULL,
  `intent` varchar(16) NOT NULL,
  `alarm` varchar(1000) NOT NULL,
  `created_at` datetime(3) NOT NULL,
  `updated_at` datetime(3) NOT NULL,
  PRIMARY KEY (`id`),
  KEY `sales_created` (`created_at`,`id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE `sale_changes` (
  `sale_id` varchar(64) NOT NULL,
  `revision` bigint(20) NOT NULL,
  `command` varchar(16) NOT NULL,
  `payload` mediumblob NOT NULL,
  `created_at` datetime(3) NOT NULL,
  `acknowledged_at` datetime(3) DEFAULT NULL,
  PRIMARY KEY (`sale_id`,`revision`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE `stock_journal` (
  `order_id` bigint(20) NOT NULL,
  `kind` varchar(16) NOT NULL,
  `sale_id` varchar(64) NOT NULL,
  `units` bigint(20) NOT NULL,
  `reason` varchar(255) NOT NULL,
  `created_at` datetime(3) NOT NULL,
  PRIMARY KEY (`order_id`,`kind`),
  KEY `stock_journal_sale` (`sale_id`,`order_id`,`units`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE `users` (
  `id` bigint(20) NOT NULL AUTO_INCREMENT,
  `name` varchar(64) NOT NULL,
  `password_hash` varchar(255) NOT NULL,
  `roles` varchar(255) NOT NULL,
  `created_at` datetime(3) NOT NULL,
  PRIMARY KEY (`id`),
  UNIQUE KEY `users_name` (`name`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
