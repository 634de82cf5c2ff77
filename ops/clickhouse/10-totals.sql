-- Ready-made totals, filled by the views of 30-views.sql. Ask `traffic` (40-traffic.sql), or any of these
-- tables with sum() and GROUP BY: rows of one group are merged in the background, not at once.
--
-- All: partitions by year, as the raw table, so that no timestamp can make an INSERT fail; hours and
-- days are UTC's; the window and the fsyncs as in 20-http_log.sql and for its reasons; no TTL.
-- Figures: data/reports/totals-design.md. "B" is bytes of disk a raw row, of which raw has 16.6.

-- A row a minute and group, all four dimensions: 0.79 rows and 4.2 B a raw row.
CREATE TABLE IF NOT EXISTS http_log_totals
(
    -- Delta 0.55 B, ZSTD(1) alone 0.64; T64 1.07: it cannot use that the time is nearly sorted.
    time            DateTime               CODEC(Delta, ZSTD(1)),
    resource_id     UInt64                 CODEC(T64, ZSTD(1)),
    response_status UInt16                 CODEC(T64, ZSTD(1)),
    cache_status    LowCardinality(String) CODEC(ZSTD(1)),
    -- 0.57 B, as String 0.91; and sorted twice as fast, which is what an INSERT spends its time on.
    remote_addr     LowCardinality(String) CODEC(ZSTD(1)),
    bytes_sent      UInt64                 CODEC(T64, ZSTD(1)), -- 1.7 B: the largest column
    requests        UInt64                 CODEC(T64, ZSTD(1)),
    -- The key begins with the hour, and ClickHouse derives nothing from `time >= ...` for that.
    INDEX times time TYPE minmax GRANULARITY 1
)
ENGINE = SummingMergeTree((bytes_sent, requests))
PARTITION BY toYear(time, 'UTC')
-- The hour first, for short ranges; then the address, for one address' chart, and because it packs best.
PRIMARY KEY (toStartOfHour(time, 'UTC'), remote_addr)
ORDER BY (toStartOfHour(time, 'UTC'), remote_addr, time, resource_id, response_status, cache_status)
SETTINGS
    -- A chart of one address reads a granule or two of each hour: 1024 rows, not 8192, for 0.2 % of disk.
    index_granularity = 1024,
    non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- The same a day: long ranges with the address and something else.
CREATE TABLE IF NOT EXISTS http_log_totals_1d
(
    time            DateTime               CODEC(Delta, ZSTD(1)),
    resource_id     UInt64                 CODEC(T64, ZSTD(1)),
    response_status UInt16                 CODEC(T64, ZSTD(1)),
    cache_status    LowCardinality(String) CODEC(ZSTD(1)),
    remote_addr     LowCardinality(String) CODEC(ZSTD(1)),
    bytes_sent      UInt64                 CODEC(T64, ZSTD(1)),
    requests        UInt64                 CODEC(T64, ZSTD(1)),
    INDEX times time TYPE minmax GRANULARITY 1
)
ENGINE = SummingMergeTree((bytes_sent, requests))
PARTITION BY toYear(time, 'UTC')
-- An address' rows of a month lie together, so a question about some addresses reads little.
ORDER BY (toStartOfMonth(time, 'UTC'), remote_addr, time, resource_id, response_status, cache_status)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- The address alone, a day.
CREATE TABLE IF NOT EXISTS http_log_address_1d
(
    time            DateTime               CODEC(Delta, ZSTD(1)),
    remote_addr     LowCardinality(String) CODEC(ZSTD(1)),
    bytes_sent      UInt64                 CODEC(T64, ZSTD(1)),
    requests        UInt64                 CODEC(T64, ZSTD(1)),
    INDEX times time TYPE minmax GRANULARITY 1
)
ENGINE = SummingMergeTree((bytes_sent, requests))
PARTITION BY toYear(time, 'UTC')
ORDER BY (toStartOfMonth(time, 'UTC'), remote_addr, time)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- All but the address, a minute.
CREATE TABLE IF NOT EXISTS http_log_1m
(
    time            DateTime               CODEC(Delta, ZSTD(1)),
    resource_id     UInt64                 CODEC(T64, ZSTD(1)),
    response_status UInt16                 CODEC(T64, ZSTD(1)),
    cache_status    LowCardinality(String) CODEC(ZSTD(1)),
    bytes_sent      UInt64                 CODEC(T64, ZSTD(1)),
    requests        UInt64                 CODEC(T64, ZSTD(1)),
    INDEX times time TYPE minmax GRANULARITY 1
)
ENGINE = SummingMergeTree((bytes_sent, requests))
PARTITION BY toYear(time, 'UTC')
ORDER BY (toStartOfHour(time, 'UTC'), resource_id, response_status, cache_status, time)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- All but the address, an hour.
CREATE TABLE IF NOT EXISTS http_log_1h
(
    time            DateTime               CODEC(Delta, ZSTD(1)),
    resource_id     UInt64                 CODEC(T64, ZSTD(1)),
    response_status UInt16                 CODEC(T64, ZSTD(1)),
    cache_status    LowCardinality(String) CODEC(ZSTD(1)),
    bytes_sent      UInt64                 CODEC(T64, ZSTD(1)),
    requests        UInt64                 CODEC(T64, ZSTD(1)),
    INDEX times time TYPE minmax GRANULARITY 1
)
ENGINE = SummingMergeTree((bytes_sent, requests))
PARTITION BY toYear(time, 'UTC')
-- The week first: a day of it reads a fifth of what it would behind the month, for 4 % of disk.
ORDER BY (toMonday(time, 'UTC'), resource_id, response_status, cache_status, time)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;
