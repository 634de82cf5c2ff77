-- What fills the totals. Each takes the block that its source has just got, so the coarser tables are
-- fed from the finer ones, which have fewer rows. Hours and days are UTC's.

-- The first two without GROUP BY: most rows of a batch would remain, and merges add them up later.
-- CPU seconds an INSERT of 1,000,000 rows, raw alone 1.36: both grouped 4.2, the second 2.95, none 2.5.
CREATE MATERIALIZED VIEW IF NOT EXISTS http_log_fill_totals TO http_log_totals AS
SELECT toStartOfMinute(timestamp, 'UTC') AS time, resource_id, response_status, cache_status,
    remote_addr, bytes_sent, toUInt64(1) AS requests
FROM http_log;

CREATE MATERIALIZED VIEW IF NOT EXISTS http_log_fill_totals_1d TO http_log_totals_1d AS
SELECT toStartOfDay(time, 'UTC') AS time, resource_id, response_status, cache_status, remote_addr,
    bytes_sent, requests
FROM http_log_totals;

CREATE MATERIALIZED VIEW IF NOT EXISTS http_log_fill_address_1d TO http_log_address_1d AS
SELECT toStartOfDay(time, 'UTC') AS time, remote_addr,
    sum(bytes_sent) AS bytes_sent, sum(requests) AS requests
FROM http_log_totals_1d
GROUP BY ALL;

CREATE MATERIALIZED VIEW IF NOT EXISTS http_log_fill_1m TO http_log_1m AS
SELECT time, resource_id, response_status, cache_status,
    sum(bytes_sent) AS bytes_sent, sum(requests) AS requests
FROM http_log_totals
GROUP BY ALL;

CREATE MATERIALIZED VIEW IF NOT EXISTS http_log_fill_1h TO http_log_1h AS
SELECT toStartOfHour(time, 'UTC') AS time, resource_id, response_status, cache_status,
    sum(bytes_sent) AS bytes_sent, sum(requests) AS requests
FROM http_log_1m
GROUP BY ALL;

CREATE MATERIALIZED VIEW IF NOT EXISTS http_log_fill_1d TO http_log_1d AS
SELECT toStartOfDay(time, 'UTC') AS time, resource_id, response_status, cache_status,
    sum(bytes_sent) AS bytes_sent, sum(requests) AS requests
FROM http_log_1h
GROUP BY ALL;
