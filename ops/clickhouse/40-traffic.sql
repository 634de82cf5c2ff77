-- Bytes and requests by any of four dimensions, over any range: the one name to ask.
--
--     SELECT time, bytes_sent, requests FROM traffic(from = now() - INTERVAL 1 DAY, to = now(), step = 60,
--         by = '', resource = [7], status = [200], cache = [], address = []) ORDER BY time
--
-- All parameters must be given:
--   from, to    the range, as DateTime or text; all minutes that it touches are counted whole
--   step        seconds a point, a multiple of 60, in UTC since 1970; 0: one total over the range
--   by          which dimensions to tell apart: any of resource, status, cache, address, with commas;
--               the others are 0 or '' in the answer
--   resource, status, cache, address   arrays of the values to count; [] counts all
--
-- It reads the cheapest table that has all that is asked for, and what lies before the first and after
-- the last whole hour or day from the table a minute: exact for every range. A branch whose condition
-- is false by its parameters is not read.
CREATE VIEW IF NOT EXISTS traffic AS
WITH
    splitByChar(',', replaceAll({by:String}, ' ', '')) AS words,
    has(words, 'resource') AS by_resource,
    has(words, 'status') AS by_status,
    has(words, 'cache') AS by_cache,
    has(words, 'address') AS by_address,
    by_address OR notEmpty({address:Array(String)}) AS needs_address,
    by_resource OR by_status OR by_cache OR notEmpty({resource:Array(UInt64)})
        OR notEmpty({status:Array(UInt16)}) OR notEmpty({cache:Array(String)}) AS needs_others,
    toUInt64({step:UInt32}) AS step,
    -- The first minute, and the last.
    intDiv(toUInt64(toUInt32({from:DateTime})), 60) * 60 AS first,
    intDiv(toUInt64(greatest(toUInt32({to:DateTime}), 1) - 1), 60) * 60 AS last,
    -- The whole hours, or with the address days, from `inner_from` up to `inner_to`; none if a point is
    -- no multiple of them.
    if(needs_address, 86400, 3600) AS unit,
    if(step % unit = 0, least(intDiv(first + unit - 1, unit) * unit, 4294967295), 0) AS inner_from,
    if(step % unit = 0, greatest(intDiv(last + 60, unit) * unit, inner_from), 0) AS inner_to,
    toDateTime(first) AS t_first, toDateTime(last) AS t_last,
    toDateTime(inner_from) AS t_inner_from, toDateTime(inner_to) AS t_inner_to
SELECT
    toDateTime(if(step = 0, first, intDiv(toUInt64(toUInt32(minute)), if(step = 0, 1, step)) * step)) AS time,
    if(by_resource, resource, 0) AS resource_id,
    if(by_status, status, 0) AS response_status,
    if(by_cache, CAST(cache, 'String'), '') AS cache_status,
    if(by_address, CAST(address, 'String'), '') AS remote_addr,
    sum(bytes) AS bytes_sent,
    sum(count) AS requests
FROM
(
    SELECT time AS minute, resource_id AS resource, response_status AS status, cache_status AS cache,
        toLowCardinality('') AS address, bytes_sent AS bytes, requests AS count
    FROM http_log_1h
    WHERE NOT needs_address AND minute >= t_inner_from AND minute < t_inner_to
    UNION ALL
    SELECT time, resource_id, response_status, cache_status, toLowCardinality(''), bytes_sent, requests
    FROM http_log_1m
    WHERE NOT needs_address AND time BETWEEN t_first AND t_last AND (time < t_inner_from OR time >= t_inner_to)
    UNION ALL
    SELECT time, 0, 0, '', remote_addr, bytes_sent, requests
    FROM http_log_address_1d
    WHERE needs_address AND NOT needs_others AND time >= t_inner_from AND time < t_inner_to
    UNION ALL
    SELECT time, resource_id, response_status, cache_status, remote_addr, bytes_sent, requests
    FROM http_log_totals_1d
    WHERE needs_address AND needs_others AND time >= t_inner_from AND time < t_inner_to
    UNION ALL
    SELECT time, resource_id, response_status, cache_status, remote_addr, bytes_sent, requests
    FROM http_log_totals
    WHERE needs_address AND time BETWEEN t_first AND t_last AND (time < t_inner_from OR time >= t_inner_to)
)
WHERE throwIf(step % 60 != 0, 'traffic: step takes a multiple of 60 seconds, or 0') = 0
    AND throwIf(NOT hasAll(['', 'resource', 'status', 'cache', 'address'], words),
        'traffic: by takes resource, status, cache, address, with commas between them') = 0
    AND {from:DateTime} < {to:DateTime}
    AND (empty({resource:Array(UInt64)}) OR resource IN {resource:Array(UInt64)})
    AND (empty({status:Array(UInt16)}) OR status IN {status:Array(UInt16)})
    AND (empty({cache:Array(String)}) OR cache IN {cache:Array(String)})
    AND (empty({address:Array(String)}) OR address IN {address:Array(String)})
GROUP BY ALL;
