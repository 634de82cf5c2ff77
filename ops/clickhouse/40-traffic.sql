-- Bytes and requests by any of four dimensions, over any range: the one name to ask.
--
--     SELECT time, response_status, requests FROM traffic(from = toUnixTimestamp(now()) - 86400,
--         to = toUnixTimestamp(now()), step = 60, by = 'status', resource = [7], status = [], cache = [],
--         address = []) ORDER BY time
--
-- All parameters must be given:
--   from, to    the range in Unix seconds, without its end: a time as text would be read in the zone of
--               whoever reads it, so it is refused. All minutes that the range touches are counted whole
--   step        seconds a point, a multiple of 60, in UTC since 1970; 0: one total over the range
--   by          which dimensions to tell apart: any of resource, status, cache, address, with commas;
--               the others are 0 or '' in the answer
--   resource, status, cache, address   arrays of the values to count; [] counts all
--
-- Besides the sums it answers `seconds`: how many of the point lie in the range (in its whole minutes). The
-- first and last point are seldom whole, so a rate is bytes_sent / seconds.
--
-- It reads whole days from a table a day, the whole hours that are left from one an hour, and the minutes
-- that are left from one a minute, with no more dimensions than are asked for: exact for every range. A
-- branch whose condition is false by its parameters is not read.
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
    -- What is wrong with the question stands in the error: no number can be read in these words. (throwIf
    -- is asked for every row, 10 ns each.)
    toUInt8(if({step:UInt32} % 60 = 0, '1', 'traffic: step takes a multiple of 60 seconds, or 0')) = 1
        AND toUInt8(if(hasAll(['', 'resource', 'status', 'cache', 'address'], words), '1',
            'traffic: by takes resource, status, cache, address, with commas between them')) = 1 AS is_right,
    toUInt64({step:UInt32}) AS step,
    -- The range ends with what DateTime holds.
    least({to:UInt64}, 4294967296) AS end,
    -- The first minute, and the last.
    intDiv(least({from:UInt64}, 4294967295), 60) * 60 AS first,
    intDiv(greatest(end, 1) - 1, 60) * 60 AS last,
    -- The whole days in between, and the whole hours around these, each without its end; none (both ends
    -- the same) if a point is not made of whole ones. With the address there is no table of hours.
    if(step % 86400 = 0, least(intDiv(first + 86399, 86400) * 86400, 4294967295), 0) AS days_from,
    if(step % 86400 = 0, greatest(intDiv(last + 60, 86400) * 86400, days_from), 0) AS days_to,
    if(step % 3600 = 0, least(intDiv(first + 3599, 3600) * 3600, 4294967295), 0) AS hours_from,
    if(step % 3600 = 0, greatest(intDiv(last + 60, 3600) * 3600, hours_from), 0) AS hours_to,
    toDateTime(first) AS t_first, toDateTime(last) AS t_last,
    toDateTime(days_from) AS d_from, toDateTime(days_to) AS d_to,
    toDateTime(hours_from) AS h_from, toDateTime(hours_to) AS h_to
SELECT
    toDateTime(if(step = 0, first, intDiv(toUInt64(toUInt32(minute)), if(step = 0, 1, step)) * step), 'UTC') AS time,
    toUInt64(if(step = 0, last + 60, least(toUInt32(time) + step, last + 60)) - greatest(toUInt32(time), first)) AS seconds,
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
    FROM http_log_1d
    WHERE NOT needs_address AND minute >= d_from AND minute < d_to
    UNION ALL
    SELECT time, resource_id, response_status, cache_status, toLowCardinality(''), bytes_sent, requests
    FROM http_log_1h
    WHERE NOT needs_address AND time >= h_from AND time < h_to AND (time < d_from OR time >= d_to)
    UNION ALL
    SELECT time, resource_id, response_status, cache_status, toLowCardinality(''), bytes_sent, requests
    FROM http_log_1m
    WHERE NOT needs_address AND time BETWEEN t_first AND t_last AND (time < h_from OR time >= h_to)
    UNION ALL
    SELECT time, 0, 0, '', remote_addr, bytes_sent, requests
    FROM http_log_address_1d
    WHERE needs_address AND NOT needs_others AND time >= d_from AND time < d_to
    UNION ALL
    SELECT time, resource_id, response_status, cache_status, remote_addr, bytes_sent, requests
    FROM http_log_totals_1d
    WHERE needs_address AND needs_others AND time >= d_from AND time < d_to
    UNION ALL
    SELECT time, resource_id, response_status, cache_status, remote_addr, bytes_sent, requests
    FROM http_log_totals
    WHERE needs_address AND time BETWEEN t_first AND t_last AND (time < d_from OR time >= d_to)
)
WHERE is_right AND {from:UInt64} < end
    AND (empty({resource:Array(UInt64)}) OR resource IN {resource:Array(UInt64)})
    AND (empty({status:Array(UInt16)}) OR status IN {status:Array(UInt16)})
    AND (empty({cache:Array(String)}) OR cache IN {cache:Array(String)})
    AND (empty({address:Array(String)}) OR address IN {address:Array(String)})
GROUP BY ALL;
