-- Ready-made totals, filled by the views of 30-views.sql. Ask `traffic` (40-traffic.sql), or any of these
-- tables with sum() and GROUP BY: rows of one group are merged in the background, not at once.
--
-- All: partitions by year, as the raw table, so that no timestamp can make an INSERT fail; hours and
-- days are UTC's; the window and the fsyncs as in 20-http_log.sql and for its reasons; no TTL. The
-- primary key leaves `time` out: only then ClickHouse derives a range of the key from one of the time.
-- Figures: data/reports/totals-design.md. "B" is bytes of disk a raw row, of which raw has 16.6.

-- A row a minute and group, all four dimensions: 0.79 rows and 4.0 B a raw row.
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
    requests        UInt64                 CODEC(T64, ZSTD(1))
)
ENGINE = SummingMergeTree((bytes_sent, requests))
PARTITION BY toYear(time, 'UTC')
-- Four hours first, for short ranges; then the address, for one address' chart, which reads a piece of
-- each four hours: behind one hour it takes 3.4 times as long, and the table 3 % more disk.
PRIMARY KEY (intDiv(toUInt32(time), 14400), remote_addr)
ORDER BY (intDiv(toUInt32(time), 14400), remote_addr, time, resource_id, response_status, cache_status)
SETTINGS
    -- Those pieces are short: granules of 1024 rows, not 8192, take a quarter less time, 0.3 % more disk.
    index_granularity = 1024,
    non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- The same a day: long ranges with the address and something else. 0.40 rows and 1.8 B a raw row.
CREATE TABLE IF NOT EXISTS http_log_totals_1d
(
    time            DateTime               CODEC(Delta, ZSTD(1)),
    resource_id     UInt64                 CODEC(T64, ZSTD(1)),
    response_status UInt16                 CODEC(T64, ZSTD(1)),
    cache_status    LowCardinality(String) CODEC(ZSTD(1)),
    remote_addr     LowCardinality(String) CODEC(ZSTD(1)),
    bytes_sent      UInt64                 CODEC(T64, ZSTD(1)),
    requests        UInt64                 CODEC(T64, ZSTD(1))
)
ENGINE = SummingMergeTree((bytes_sent, requests))
PARTITION BY toYear(time, 'UTC')
-- An address' rows of a month lie together, so a question about some addresses reads little.
PRIMARY KEY (toStartOfMonth(time, 'UTC'), remote_addr)
ORDER BY (toStartOfMonth(time, 'UTC'), remote_addr, time, resource_id, response_status, cache_status)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- The last three are small and read whole: LZ4 takes 0.1 B more than ZSTD(1) and a third less time.

-- The address alone, a day: 0.037 rows and 0.25 B a raw row.
CREATE TABLE IF NOT EXISTS http_log_address_1d
(
    time            DateTime               CODEC(Delta, LZ4),
    remote_addr     LowCardinality(String) CODEC(LZ4),
    bytes_sent      UInt64                 CODEC(T64, LZ4),
    requests        UInt64                 CODEC(T64, LZ4)
)
ENGINE = SummingMergeTree((bytes_sent, requests))
PARTITION BY toYear(time, 'UTC')
PRIMARY KEY (toStartOfMonth(time, 'UTC'), remote_addr)
ORDER BY (toStartOfMonth(time, 'UTC'), remote_addr, time)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- All but the address, a minute: 0.30 rows and 1.1 B a raw row.
CREATE TABLE IF NOT EXISTS http_log_1m
(
    time            DateTime               CODEC(Delta, ZSTD(1)),
    resource_id     UInt64                 CODEC(T64, ZSTD(1)),
    response_status UInt16                 CODEC(T64, ZSTD(1)),
    cache_status    LowCardinality(String) CODEC(ZSTD(1)),
    bytes_sent      UInt64                 CODEC(T64, ZSTD(1)),
    requests        UInt64                 CODEC(T64, ZSTD(1))
)
ENGINE = SummingMergeTree((bytes_sent, requests))
PARTITION BY toYear(time, 'UTC')
PRIMARY KEY (toStartOfHour(time, 'UTC'), resource_id, response_status, cache_status)
ORDER BY (toStartOfHour(time, 'UTC'), resource_id, response_status, cache_status, time)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- All but the address, an hour: 0.033 rows and 0.13 B a raw row.
CREATE TABLE IF NOT EXISTS http_log_1h
(
    time            DateTime               CODEC(Delta, LZ4),
    resource_id     UInt64                 CODEC(T64, LZ4),
    response_status UInt16                 CODEC(T64, LZ4),
    cache_status    LowCardinality(String) CODEC(LZ4),
    bytes_sent      UInt64                 CODEC(T64, LZ4),
    requests        UInt64                 CODEC(T64, LZ4)
)
ENGINE = SummingMergeTree((bytes_sent, requests))
PARTITION BY toYear(time, 'UTC')
-- The week first: a day of it reads a fifth of what it would behind the month, for 4 % of disk.
PRIMARY KEY (toMonday(time, 'UTC'), resource_id, response_status, cache_status)
ORDER BY (toMonday(time, 'UTC'), resource_id, response_status, cache_status, time)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- All but the address, a day: 0.003 rows and 0.01 B a raw row. Top lists of 30 days take a third of what
-- the hours take, and a year stays quick.
CREATE TABLE IF NOT EXISTS http_log_1d
(
    time            DateTime               CODEC(Delta, LZ4),
    resource_id     UInt64                 CODEC(T64, LZ4),
    response_status UInt16                 CODEC(T64, LZ4),
    cache_status    LowCardinality(String) CODEC(LZ4),
    bytes_sent      UInt64                 CODEC(T64, LZ4),
    requests        UInt64                 CODEC(T64, LZ4)
)
ENGINE = SummingMergeTree((bytes_sent, requests))
PARTITION BY toYear(time, 'UTC')
PRIMARY KEY (toStartOfMonth(time, 'UTC'), resource_id, response_status, cache_status)
ORDER BY (toStartOfMonth(time, 'UTC'), resource_id, response_status, cache_status, time)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;
