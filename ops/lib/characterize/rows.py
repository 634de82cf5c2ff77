"""Synthetic rows of http_log, made inside the engine. Row `i` of a set is always the same.

The shape, since it sets how many groups there are:
- rows are evenly spaced in time, in the order in which Kafka would hold them;
- 200 resources, the k-th asked for in proportion to 1/k;
- masked addresses (default 200,000; 2 % of them IPv6), the k-th in proportion to k^-0.8;
- clients come in sessions: one address, one resource, 8 requests on average within 5 minutes;
- statuses and cache states as in STATUSES and CACHES, independent of each other;
- 57-byte URLs over 5,000 objects a resource, log-normal bytes and times.
"""

from typing import NamedTuple

RESOURCES = 200
ADDRESS_SKEW = 0.8
SESSION_REQUESTS = 8
SESSION_SECONDS = 300
DAY = 86_400

# Value and weight in a thousand.
STATUSES = {200: 790, 206: 60, 304: 60, 404: 45, 301: 20, 403: 12, 502: 8, 500: 5}
CACHES = {"HIT": 720, "MISS": 170, "EXPIRED": 45, "BYPASS": 40, "STALE": 15, "UPDATING": 10}
METHODS = {"GET": 930, "POST": 40, "HEAD": 30}

# As ops/clickhouse/20-http_log.sql; the order of RowBinary.
COLUMNS = (
    "timestamp, resource_id, bytes_sent, request_time_milli, response_status, cache_status, method, "
    "remote_addr, url"
)
STRUCTURE = (
    "timestamp DateTime, resource_id UInt64, bytes_sent UInt64, request_time_milli UInt64, "
    "response_status UInt16, cache_status LowCardinality(String), method LowCardinality(String), "
    "remote_addr String, url String"
)


class RowSet(NamedTuple):
    """What is made. `start` is a Unix second at midnight UTC."""

    rows: int
    days: float = 30
    addresses: int = 200_000
    seed: int = 1
    start: int = 1_760_918_400  # Monday 2025-10-20 00:00:00

    @property
    def seconds(self) -> int:
        return round(self.days * DAY)

    @property
    def end(self) -> int:
        return self.start + self.seconds

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds


def _pick(weights: dict, u: str) -> str:
    """SQL that picks a key by its weight; `u` is uniform over 0 to 999."""
    sums, total = [], 0
    for key, weight in weights.items():
        total += weight
        sums.append((key, total))
    assert total == 1000, f"BUG: the weights sum to {total}"
    literal = (lambda k: f"'{k}'") if isinstance(sums[0][0], str) else str
    branches = ", ".join(f"{u} < {upto}, {literal(key)}" for key, upto in sums[:-1])
    return f"multiIf({branches}, {literal(sums[-1][0])})"


def select(s: RowSet, first: int, count: int) -> str:
    """A SELECT of `count` rows from number `first` on, its columns in the table's order."""

    def bits(n: str, k: int) -> str:  # 64 pseudo-random bits, others for each k
        return f"intHash64({n} * 16 + {k} + {s.seed} * 1000000000000000)"

    def unit(n: str, k: int) -> str:  # uniform in [0, 1)
        return f"({bits(n, k)} / 18446744073709551616.)"

    tail = 1 - ADDRESS_SKEW
    sessions = s.rate / SESSION_REQUESTS  # started in a second
    return f"""
SELECT toDateTime({s.start} + toUInt32(second), 'UTC') AS timestamp,
    toUInt64(1000 + floor(pow({RESOURCES + 1}, {unit('session', 1)}))) AS resource_id,
    toUInt64(if(status IN (304) OR m = 'HEAD', 0, exp(if(status < 300, 9.7, 6.2) + 1.4 * normal))) AS bytes_sent,
    toUInt64(exp(if(cache = 'HIT', 2.1, 4.6) + 0.7 * normal2)) AS request_time_milli,
    toUInt16(status) AS response_status, cache AS cache_status, m AS method,
    if(rank % 50 = 49, concat('2001:db8:', lower(hex(toUInt16(1 + intDiv(rank, 50) % 65535))), '::X'),
        concat(toString(1 + bitAnd(bitShiftRight(net, 24), 127)), '.',
               toString(bitAnd(bitShiftRight(net, 16), 255)), '.',
               toString(bitAnd(bitShiftRight(net, 8), 255)), '.X')) AS remote_addr,
    concat('/res/', toString(resource_id), '/', kind, '/',
        substring(lower(hex(intHash64(resource_id * 65536 + file))), 1, 12), '/part-',
        leftPad(toString(file), 6, '0'), '-', toString(144 * bitShiftLeft(1, file % 4)), 'p.bin') AS url
FROM (
    SELECT number AS i, i / {s.rate:.12g} AS second,
        toUInt64(floor({sessions * SESSION_SECONDS:.12g} + second * {sessions:.12g}
            - {unit('i', 0)} * {sessions * SESSION_SECONDS:.12g})) AS session,
        toUInt64(pow({unit('session', 2)} * (pow({s.addresses}, {tail:.3g}) - 1) + 1, {1 / tail:.6g})) AS rank,
        bitAnd(rank * 2654435761, 4294967295) AS net, -- every rank its own network, spread over all
        {_pick(STATUSES, f"({bits('i', 3)} % 1000)")} AS status,
        {_pick(CACHES, f"({bits('i', 4)} % 1000)")} AS cache,
        {_pick(METHODS, f"({bits('i', 5)} % 1000)")} AS m,
        ['img', 'img', 'video', 'js', 'css', 'api'][1 + {bits('i', 6)} % 6] AS kind,
        least({bits('i', 7)} % 5000, {bits('i', 8)} % 5000) AS file,
        sqrt(-2 * log({unit('i', 9)} + 1e-18)) AS radius, 6.283185307 * {unit('i', 10)} AS angle,
        radius * cos(angle) AS normal, radius * sin(angle) AS normal2
    FROM numbers({first}, {count})
)"""
