-- Questions about traffic, for people without Grafana. Each can be given to clickhouse-client as it is;
-- change the numbers. `traffic` is explained in ops/clickhouse/40-traffic.sql: it answers exactly, from the
-- cheapest table that can. Its range is in Unix seconds, so that no time zone has a say; for a day of yours give
-- toUnixTimestamp('2026-11-20 00:00:00', 'Europe/Prague'). Minutes, hours and days are UTC's.
-- tests/python/traffic_check.py runs them all, with the server in several zones.

-- 1. Bytes a minute of resource 7 with status 200, last 24 hours, with a 0 for every minute without a request.
SELECT time, bytes_sent, requests
FROM traffic(from = toUnixTimestamp(now()) - 86400, to = toUnixTimestamp(now()),
    step = 60, by = '',
    resource = [7], status = [200], cache = [], address = [])
ORDER BY time WITH FILL
    FROM toStartOfMinute(now('UTC') - 86400) TO toStartOfMinute(now('UTC')) STEP INTERVAL 1 MINUTE;

-- 2. Bytes and requests of each day of the last 30, and the mean rate in bits a second.
SELECT toDate(time, 'UTC') AS day, bytes_sent, requests, round(bytes_sent * 8 / seconds) AS bits_per_second
FROM traffic(from = toUnixTimestamp(toStartOfDay(now(), 'UTC')) - 30 * 86400,
    to = toUnixTimestamp(toStartOfDay(now(), 'UTC')), step = 86400, by = '',
    resource = [], status = [], cache = [], address = [])
ORDER BY day;

-- 3. The 20 resources with the most bytes of the last 7 days, with hit ratio and error ratio.
SELECT resource_id, sum(bytes_sent) AS bytes, sum(requests) AS total_requests,
    round(sumIf(requests, cache_status IN ('HIT', 'STALE', 'UPDATING', 'REVALIDATED')) / total_requests, 4) AS hit_ratio,
    round(sumIf(requests, response_status >= 500) / total_requests, 4) AS error_ratio
FROM traffic(from = toUnixTimestamp(now()) - 7 * 86400, to = toUnixTimestamp(now()),
    step = 0, by = 'resource,status,cache',
    resource = [], status = [], cache = [], address = [])
GROUP BY resource_id
ORDER BY bytes DESC, resource_id
LIMIT 20;

-- 4. Hit ratio an hour, last 7 days.
SELECT time,
    round(sumIf(requests, cache_status IN ('HIT', 'STALE', 'UPDATING', 'REVALIDATED')) / sum(requests), 4) AS hit_ratio
FROM traffic(from = toUnixTimestamp(now()) - 7 * 86400, to = toUnixTimestamp(now()),
    step = 3600, by = 'cache',
    resource = [], status = [], cache = [], address = [])
GROUP BY time
ORDER BY time;

-- 5. Server errors a minute by resource and status, last hour.
SELECT time, resource_id, response_status, requests
FROM traffic(from = toUnixTimestamp(now()) - 3600, to = toUnixTimestamp(now()),
    step = 60, by = 'resource,status',
    resource = [], status = [500, 502, 503, 504], cache = [], address = [])
ORDER BY time, resource_id, response_status;

-- 6. The 95th percentile of 5-minute bit rates of a resource over 30 days, as bandwidth is billed. Steps
-- without a byte count as 0.
SELECT resource_id, 8 * arrayReverseSort(groupArray(bytes_sent))[1 + intDiv(30 * 288, 20)] / 300 AS bits_per_second
FROM traffic(from = toUnixTimestamp(toStartOfDay(now(), 'UTC')) - 30 * 86400,
    to = toUnixTimestamp(toStartOfDay(now(), 'UTC')), step = 300, by = 'resource',
    resource = [1001], status = [], cache = [], address = [])
GROUP BY resource_id;

-- 7. The 100 masked addresses with the most bytes, last 30 days.
SELECT remote_addr, bytes_sent, requests
FROM traffic(from = toUnixTimestamp(now()) - 30 * 86400, to = toUnixTimestamp(now()),
    step = 0, by = 'address',
    resource = [], status = [], cache = [], address = [])
ORDER BY bytes_sent DESC, remote_addr
LIMIT 100;

-- 8. What one address asked for, last 7 days.
SELECT resource_id, response_status, cache_status, bytes_sent, requests
FROM traffic(from = toUnixTimestamp(now()) - 7 * 86400, to = toUnixTimestamp(now()),
    step = 0, by = 'resource,status,cache',
    resource = [], status = [], cache = [], address = ['198.51.100.X'])
ORDER BY bytes_sent DESC, resource_id, response_status, cache_status
LIMIT 100;

-- 9. Requests an hour of one address, last 30 days.
SELECT time, requests
FROM traffic(from = toUnixTimestamp(now()) - 30 * 86400, to = toUnixTimestamp(now()),
    step = 3600, by = '',
    resource = [], status = [], cache = [], address = ['198.51.100.X'])
ORDER BY time;

-- 10. The 100 pairs of address and resource with the most bytes, last 30 days, exact, in two steps. Asking
-- `traffic` plainly, as in 7, gives the same and groups all pairs there are. No pair carries more than its
-- address does: so the 100th largest pair of the 50 largest addresses is a floor, and only addresses that
-- reach it can be in the list. All four calls must have the same range and the same filters.
SELECT remote_addr, resource_id, bytes_sent, requests
FROM traffic(from = toUnixTimestamp(now()) - 30 * 86400, to = toUnixTimestamp(now()),
    step = 0, by = 'address,resource',
    resource = [], status = [], cache = [], address = [])
WHERE remote_addr IN (
    SELECT remote_addr
    FROM traffic(from = toUnixTimestamp(now()) - 30 * 86400, to = toUnixTimestamp(now()),
        step = 0, by = 'address',
        resource = [], status = [], cache = [], address = [])
    WHERE bytes_sent >= (
        SELECT if(count() < 100, 0, min(bytes_sent)) -- fewer pairs than that: no floor
        FROM (
            SELECT bytes_sent
            FROM traffic(from = toUnixTimestamp(now()) - 30 * 86400, to = toUnixTimestamp(now()),
                step = 0, by = 'address,resource',
                resource = [], status = [], cache = [], address = [])
            WHERE remote_addr IN (
                SELECT remote_addr
                FROM traffic(from = toUnixTimestamp(now()) - 30 * 86400, to = toUnixTimestamp(now()),
                    step = 0, by = 'address',
                    resource = [], status = [], cache = [], address = [])
                ORDER BY bytes_sent DESC
                LIMIT 50)
            ORDER BY bytes_sent DESC
            LIMIT 100)))
ORDER BY bytes_sent DESC, remote_addr, resource_id
LIMIT 100;

-- 11. How many masked addresses there were each day, last 30 days.
SELECT toDate(time, 'UTC') AS day, uniqExact(remote_addr) AS addresses
FROM http_log_address_1d
WHERE time >= now() - 30 * 86400
GROUP BY day
ORDER BY day;

-- 12. Do the totals agree with the raw rows? Both lines must be equal. As long as raw rows are kept.
SELECT 'raw' AS source, sum(bytes_sent) AS bytes, count() AS requests
FROM http_log WHERE timestamp >= toStartOfDay(now(), 'UTC')
UNION ALL
SELECT 'totals', sum(bytes_sent), sum(requests)
FROM http_log_totals WHERE time >= toStartOfDay(now(), 'UTC');

-- 13. What each table takes, and its newest and oldest part. `anonymizer capacity` says what it will take.
SELECT table, sum(rows) AS total_rows, formatReadableSize(sum(bytes_on_disk)) AS disk, count() AS parts,
    round(sum(bytes_on_disk) / sum(rows), 2) AS bytes_a_row
FROM system.parts
WHERE active AND database = currentDatabase() AND table LIKE 'http_log%'
GROUP BY table
ORDER BY sum(bytes_on_disk) DESC;

-- 14. Who can still be told from others by what was asked for: the masked addresses of the last hour, by how many of
-- them asked for the very same set of URLs. One that shares its set with no other is as good as named to whoever
-- knows what somebody read. `mask_ipv4_bits` and `mask_url_query` make them fewer.
SELECT multiIf(alike = 1, '1', alike < 5, '2 to 4', alike < 20, '5 to 19', '20 or more') AS with_the_same_urls,
    sum(alike) AS addresses, round(sum(alike) / sum(sum(alike)) OVER (), 4) AS share
FROM (
    SELECT urls, count() AS alike
    FROM (
        SELECT remote_addr, sum(DISTINCT cityHash64(url)) AS urls
        FROM http_log WHERE timestamp >= now() - 3600
        GROUP BY remote_addr)
    GROUP BY urls)
GROUP BY with_the_same_urls
ORDER BY min(alike);
