#!/usr/bin/env python3
"""Writes data/golden/: records, rows and masks that our own code had no part in.

Why: a test that encodes and decodes with the same library proves only that the library agrees with
itself. Here every side is somebody else's:
  records   encoded and read by the C++ reference of Cap'n Proto (pycapnp). What it will not write
            (broken or hostile messages) is put together from words by hand, and it gives the verdict.
  masks     Python's `ipaddress`, each address compared with the C library's inet_pton.
  rows      packed here by hand, then read by the real ClickHouse engine (chdb) into the columns of
            http_log, compared value by value, and written by it as RowBinary again: same bytes.
A difference anywhere fails, and nothing is written.

Run:   .stack/tools/venv/bin/python tests/corpus/golden/generate.py    (pycapnp==2.2.4, chdb-core==26.9.0)
Verify the committed files, without writing:                     tests/corpus/golden/check.py

manifest.json
  A text is a JSON string with one character a byte (latin-1), since texts are bytes of any content.
  good[]  file, why, by ("c++" or "hand"), segments, fields (what a reader of schema/http_log.capnp
          sees), masked (remote_addr after masking), and either row (RowBinary, hex) or quarantine (why).
  bad[]   file (under bad/), why, reference (what C++ does: "rejects" or "accepts"), must:
          "quarantine", or "either": decode or quarantine, but no panic, no stall, no memory blow-up.
mask.tsv  input<TAB>expected, UTF-8, no header, no comments; the empty input is there too. Addresses
          with control characters or broken UTF-8 are records (see the manifest), not lines.

Masking, as decided (anything else is `X`; spaces are never trimmed):
  IPv4       four decimal parts 0-255 without leading zeros -> the first three, then X.
  IPv6       any RFC 4291 spelling -> first three groups, lower-case hex, no leading zeros, then `::X`.
             Plain IPv6 too: NAT64, `::1.2.3.4` (IPv4-compatible), `::ffff:0:1.2.3.4`.
  6to4       2002::/16 holds an IPv4 address in the next 32 bits: its last octet becomes 0.
  mapped     ::ffff:0:0/96 in any spelling -> as IPv4.
  zone       `%` and one or more of A-Z a-z 0-9 . _ ~ - after an IPv6 address: dropped. Never after IPv4.
  port       `v4:port`, `[v6]:port`; 1 to 5 ASCII digits, at most 65535: dropped. A bad port -> X.
  brackets   `[v6]` alone is an address; brackets around IPv4 are not.
"""

import ipaddress
import json
import pathlib
import random
import re
import socket
import struct
import sys
import tempfile

import capnp
from chdb import session

if not __debug__:
    sys.exit("the checks are assertions: run without -O")

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent.parent
OUT = ROOT / "data" / "golden"
SCHEMA = ROOT / "schema" / "http_log.capnp"

# name in the manifest -> name in the schema, in the order of the table's columns
NUMBERS = {
    "timestamp_epoch_milli": "timestampEpochMilli",
    "resource_id": "resourceId",
    "bytes_sent": "bytesSent",
    "request_time_milli": "requestTimeMilli",
    "response_status": "responseStatus",
}
TEXTS = {"cache_status": "cacheStatus", "method": "method", "remote_addr": "remoteAddr", "url": "url"}

COLUMNS = (
    "timestamp DateTime, resource_id UInt64, bytes_sent UInt64, request_time_milli UInt64, "
    "response_status UInt16, cache_status LowCardinality(String), method LowCardinality(String), "
    "remote_addr String, url String"
)
DATETIME_LAST = 2**32 - 1


# ---- masking ------------------------------------------------------------------------------------


def mask(raw: bytes) -> bytes:
    try:
        text = raw.decode("ascii")
    except UnicodeDecodeError:
        return b"X"
    if found := re.fullmatch(r"\[([^][]*)\](?::([0-9]{1,5}))?", text):
        masked, port = _mask6(found[1]), found[2]
    elif found := re.fullmatch(r"([0-9.]+)(?::([0-9]{1,5}))?", text):
        masked, port = _mask4(found[1]), found[2]
    else:
        masked, port = _mask6(text), None
    if masked is None or (port is not None and int(port) > 65535):
        return b"X"
    return masked.encode()


def _mask4(text):
    packed = _parse(ipaddress.IPv4Address, socket.AF_INET, text)
    return packed and "%d.%d.%d.X" % tuple(packed[:3])


def _mask6(text):
    text, percent, zone = text.partition("%")
    if percent and not re.fullmatch(r"[A-Za-z0-9._~-]+", zone):
        return None
    packed = _parse(ipaddress.IPv6Address, socket.AF_INET6, text)
    if packed is None:
        return None
    if mapped := ipaddress.IPv6Address(packed).ipv4_mapped:
        return _mask4(str(mapped))
    first, second, third = struct.unpack(">3H", packed[:6])
    if ipaddress.IPv6Address(packed).sixtofour:
        third &= 0xFF00
    return "%x:%x:%x::X" % (first, second, third)


def _parse(kind, family, text):
    """The address as bytes or None, by Python and by the C library, who must agree."""
    try:
        mine = kind(text).packed
    except ValueError:
        mine = None
    try:
        libc = socket.inet_pton(family, text)
    except (OSError, ValueError):
        libc = None
    assert mine == libc, f"ipaddress and inet_pton differ on {text!r}: {mine} {libc}"
    return mine


# The rules as they were written down, so that a slip in mask() shows.
ANCHORS = {
    "1.2.3.4": "1.2.3.X",
    "2001:db8:85a3::8a2e:370:7334": "2001:db8:85a3::X",
    "::1": "0:0:0::X",
    "::ffff:192.0.2.77": "192.0.2.X",
    "192.0.2.77:443": "192.0.2.X",
    "[2001:db8::1]:80": "2001:db8:0::X",
    "not an address": "X",
    "": "X",
}

MASK_INPUTS = [
    *ANCHORS,
    # IPv4
    "0.0.0.0", "255.255.255.255", "127.0.0.1", "10.20.30.40", "198.51.100.200",
    "01.2.3.4", "1.2.3.04", "1.2.3.00", "001.002.003.004", "1.2.3", "1.2.3.", ".1.2.3.4", "1..2.3", "1.2.3.4.5",
    "1.2.3.4.", "256.1.1.1", "1.1.1.256", "1.2.3.1000", "4294967296.1.1.1", "0x7f.1", "0x7f.0.0.1", "16909060",
    "1.2.3.-4", "+1.2.3.4", "1.2.3.4a", "1.2.3.X", "1,2,3,4", "1.2.3.4/32", "1.2.3.0/24",
    # IPv4 with a port
    "1.2.3.4:0", "1.2.3.4:80", "1.2.3.4:00080", "1.2.3.4:65535", "1.2.3.4:65536", "1.2.3.4:99999", "1.2.3.4:000080",
    "1.2.3.4:", "1.2.3.4:+80", "1.2.3.4:-1", "1.2.3.4: 80", "1.2.3.4:http", "1.2.3.4:80:80", "1.2.3:80",
    "01.2.3.4:80", ":80",
    # IPv6
    "::", "::2", "2001:db8::", "2001:db8:85a3:8d3:1319:8a2e:370:7348", "2001:DB8:ABCD:EF::1",
    "2001:0db8:00a0:0000:0000:0000:0000:0001", "0:0:0:0:0:0:0:1", "fe80::1", "ff02::1", "1:2:3:4:5:6:7::",
    "::2:3:4:5:6:7:8", "1::8", "1:0:0:4::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8::", "1::2:3:4:5:6:7:8", "1::2::3", ":::", ":", ":1", "1:",
    "1:2:3:4:5:6:7:", ":1:2:3:4:5:6:7", "g::1", "12345::", "00001::", "2001:db8::1/48", "2001:db8::-1", "2001.db8::1",
    "2001:db8:1:2:3:4:5:6:443", "2001:db8::1:443",
    # IPv4 inside IPv6
    "::FFFF:1.2.3.4", "::ffff:c000:24d", "0:0:0:0:0:ffff:192.0.2.77", "0:0:0:0:0:FFFF:C000:024D", "::ffff:0:0",
    "::ffff:01.2.3.4", "::ffff:1.2.3", "::ffff:1.2.3.256", "::ffff:1.2.3.4:80", "::ffff:1.2.3.4:5:6",
    "1.2.3.4::", "::1.2.3.4", "::ffff:0:1.2.3.4", "64:ff9b::1.2.3.4", "64:ff9b:1::1.2.3.4", "2002:c000:24d::1",
    "1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:7:1.2.3.4",
    # brackets
    "[::1]", "[2001:db8::1]", "[2001:DB8::1]:443", "[::ffff:1.2.3.4]", "[::ffff:1.2.3.4]:80", "[2001:db8::1]:65536",
    "[2001:db8::1]:", "[2001:db8::1]80", "[2001:db8::1]:+80", "[2001:db8::1", "2001:db8::1]", "2001:db8::1]:80",
    "[[::1]]", "[]", "[]:80", "[1.2.3.4]", "[1.2.3.4]:80", "[::1]:80]", "x[::1]:80",
    # zones
    "fe80::1%eth0", "fe80::1%1", "FE80::1%en-0.1_~", "[fe80::1%eth0]", "[fe80::1%eth0]:443", "::ffff:1.2.3.4%eth0",
    "fe80::1%1.2.3.4", "fe80::1%", "fe80::1%%", "fe80::1%25%eth0", "fe80::1%eth0:80", "fe80::1%eth 0", "fe80::1%eth0]",
    "[fe80::1]%eth0", "[fe80::1%é]", "1.2.3.4%eth0", "1.2.3.4%eth0:80", "%eth0",
    # spaces and other characters
    " 1.2.3.4", "1.2.3.4 ", "1.2.3 .4", " ::1", "::1 ", " ", "\u00a01.2.3.4", "\ufeff1.2.3.4", "1\u3002" "2.3.4",
    "\u0661.\u0662.\u0663.\u0664", "\uff11.2.3.4", "1.2.3.\u00b2", "1.2.3.4:\u0668\u0660", "\uff12001::1",
    # what logs and proxies write
    "-", "unknown", "localhost", "unix:", "null", "example.com:80", "1.2.3.4, 5.6.7.8", "1.2.3.4,5.6.7.8",
    'for="[2001:db8::1]:80"', '"1.2.3.4"', "http://1.2.3.4/", "1.2.3.4/path", "user@1.2.3.4", "1.2.3.4\\n", "X",
    "1" * 64, "1." * 40, ":" * 64, "1.2.3.4" + "0" * 200,
]


def mask_table() -> bytes:
    for given, expected in ANCHORS.items():
        assert mask(given.encode()) == expected.encode(), given
    assert len(set(MASK_INPUTS)) == len(MASK_INPUTS), "an input is there twice"
    lines = []
    for given in MASK_INPUTS:
        assert not set(given) & set("\t\r\n"), given
        lines.append(given.encode() + b"\t" + mask(given.encode()) + b"\n")
    return b"".join(lines)


# ---- RowBinary ----------------------------------------------------------------------------------


def leb128(n: int) -> bytes:
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes(out + bytes([n]))


def row_or_reason(fields: dict):
    """(row, None), or (None, why it cannot be one)."""
    seconds = fields["timestamp_epoch_milli"] // 1000
    if seconds > DATETIME_LAST:
        return None, f"timestamp {fields['timestamp_epoch_milli']} ms is past the last DateTime, {DATETIME_LAST} s"
    row = struct.pack("<IQQQH", seconds, *[fields[name] for name in list(NUMBERS)[1:]])
    for name in TEXTS:
        text = mask(fields[name]) if name == "remote_addr" else fields[name]
        row += leb128(len(text)) + text
    return row, None


class Engine:
    """ClickHouse itself, with a table of http_log's columns."""

    def __init__(self):
        self.dir = tempfile.TemporaryDirectory(prefix="golden-")
        self.spool = pathlib.Path(self.dir.name) / "row.bin"
        self.session = session.Session(self.dir.name + "/db")
        self.session.query(f"CREATE TABLE http_log ({COLUMNS}) ENGINE = MergeTree ORDER BY timestamp")

    def close(self):
        self.session.close()
        self.dir.cleanup()

    def complaint(self, fields: dict, row: bytes):
        """None if the engine reads the row as these values and writes the same bytes; else what differs."""
        self.spool.write_bytes(row)
        self.session.query("TRUNCATE TABLE http_log")
        self.session.query(f"INSERT INTO http_log SELECT * FROM file('{self.spool}', 'RowBinary', '{COLUMNS}')")
        answer = self.session.query(
            "SELECT toUnixTimestamp(timestamp) AS timestamp, resource_id, bytes_sent, request_time_milli, "
            "response_status, hex(cache_status) AS cache_status, hex(method) AS method, "
            "hex(remote_addr) AS remote_addr, hex(url) AS url FROM http_log "
            "SETTINGS output_format_json_quote_64bit_integers = 0",
            "JSONEachRow",
        )
        read = [json.loads(line) for line in answer.bytes().splitlines()]
        want = {"timestamp": fields["timestamp_epoch_milli"] // 1000}
        want |= {name: fields[name] for name in list(NUMBERS)[1:]}
        want |= {name: fields[name].hex().upper() for name in TEXTS}
        want["remote_addr"] = mask(fields["remote_addr"]).hex().upper()
        if read != [want]:
            return f"the engine read {read}, not {want}"
        if (written := self.session.query("SELECT * FROM http_log", "RowBinary").bytes()) != row:
            return f"the engine wrote {written.hex()}, not {row.hex()}"
        return None


# ---- Cap'n Proto, by the C++ reference ----------------------------------------------------------


PARSERS = []


def load(path):
    """One parser a file, as all versions carry the same id; kept for good, as pycapnp's schemas do not keep theirs."""
    PARSERS.append(capnp.SchemaParser())
    return PARSERS[-1].load(str(path)).HttpLogRecord


def load_as_bytes():
    """The real schema with Data for Text: pycapnp shows Text only as valid UTF-8, and we want the bytes."""
    with tempfile.TemporaryDirectory() as folder:
        twin = pathlib.Path(folder) / "http_log_bytes.capnp"
        twin.write_text(re.sub(r":\s*Text\b", ":Data", SCHEMA.read_text()))
        return load(twin)


class Reference:
    def __init__(self):
        self.record, self.raw = load(SCHEMA), load_as_bytes()

    def read(self, message: bytes) -> dict:
        """The fields as a reader of today's schema sees them; raises if the message is broken."""
        with self.record.from_bytes(message) as r:
            for name in TEXTS.values():  # as Text first: Data does not look at the closing NUL
                try:
                    getattr(r, name)
                except UnicodeDecodeError:
                    pass
        with self.raw.from_bytes(message) as r:
            fields = {name: getattr(r, key) for name, key in NUMBERS.items()}
            for name, key in TEXTS.items():
                fields[name] = bytes(getattr(r, key)).removesuffix(b"\0") if r._has(key) else b""
        return fields

    def accepts(self, message: bytes) -> bool:
        try:
            self.read(message)
            return True
        except (capnp.KjException, ValueError):
            return False


def segments(message: bytes) -> int:
    return struct.unpack_from("<I", message)[0] + 1


PLAIN = {
    "timestamp_epoch_milli": 1_700_000_000_123,
    "resource_id": 4242,
    "bytes_sent": 51_234,
    "request_time_milli": 87,
    "response_status": 200,
    "cache_status": b"HIT",
    "method": b"GET",
    "remote_addr": b"203.0.113.9",
    "url": b"https://example.com/a/b?c=d",
}
LATER = {"edgeId": 0xFFFFFFFF, "cacheAgeMilli": 2**64 - 1, "tags": ["cdn", "", "x" * 20]}


def encode(schema, fields, extra=None, split=False, extra_first=False) -> bytes:
    """A text that is None stays a null pointer. `split`: a segment for every object."""
    tricks = {"num_first_segment_words": 1, "allocate_seg_callable": lambda words: bytearray(words * 8)} if split else {}
    builder = schema.new_message(**tricks)
    if extra_first:
        for key, value in extra.items():
            setattr(builder, key, value)
    for name, key in (NUMBERS | TEXTS).items():
        if fields.get(name) is not None:
            setattr(builder, key, fields[name])
    if extra and not extra_first:
        for key, value in extra.items():
            setattr(builder, key, value)
    return builder.to_bytes()


# ---- Cap'n Proto, word by word ------------------------------------------------------------------
# A pointer's offset counts from the word after it.

FIELD = {"cache_status": 6, "method": 7, "remote_addr": 8, "url": 9}  # word of the text pointer in by_hand()
END = 10  # first word after the struct


def struct_ptr(offset, data, pointers):
    return (offset & 0x3FFFFFFF) << 2 | data << 32 | pointers << 48


def list_ptr(offset, size, count):
    return (offset & 0x3FFFFFFF) << 2 | 1 | size << 32 | count << 35


def far_ptr(segment, word, double=False):
    return 2 | double << 2 | word << 3 | segment << 32


BYTE, TWO_BYTES, COMPOSITE = 2, 3, 7


def words(data: bytes):
    data += bytes(-len(data) % 8)
    return list(struct.unpack(f"<{len(data) // 8}Q", data))


def frame(*parts) -> bytes:
    head = struct.pack(f"<{len(parts) + 1}I", len(parts) - 1, *map(len, parts))
    return head + bytes(-len(head) % 8) + b"".join(struct.pack(f"<{len(p)}Q", *p) for p in parts)


def by_hand(tail=(), **pointers):
    """One segment: root, the numbers of PLAIN, four null texts but for `pointers`, then `tail`."""
    segment = [struct_ptr(0, 5, 4), *[PLAIN[name] for name in NUMBERS], 0, 0, 0, 0, *tail]
    for name, pointer in pointers.items():
        segment[FIELD[name]] = pointer
    return segment


def text_at(name, word, length):
    return list_ptr(word - FIELD[name] - 1, BYTE, length)


NUMBERS_ONLY = {**PLAIN, "cache_status": b"", "method": b"", "remote_addr": b"", "url": b""}


# ---- the files ----------------------------------------------------------------------------------


def good_files():
    """name -> (why, by, message, the fields that were put in)"""
    now, v0, v1, v2 = (load(p) for p in (SCHEMA, *(HERE / f"http_log_v{n}.capnp" for n in range(3))))
    out = {}

    def add(name, why, message, fields, by="c++"):
        out[name + ".capnp"] = (why, by, message, fields)

    def add_now(name, why, split=False, **change):
        fields = PLAIN | change
        add(name, why, encode(now, fields, split=split), {k: b"" if v is None else v for k, v in fields.items()})

    add_now("plain", "one segment, today's schema")
    add_now("segments_6", "every object in its own segment: far pointers everywhere", split=True)
    add_now("segments_6_long", "several segments with long texts", split=True, url=b"/" + b"seg" * 200, method=b"M" * 130)

    builder = now.new_message(num_first_segment_words=1, allocate_seg_callable=lambda n: bytearray(n * 8))
    for name, key in (NUMBERS | TEXTS).items():
        if name != "url":
            setattr(builder, key, PLAIN[name])
    builder.method = PLAIN["url"]
    builder.adopt("url", builder.disown("method"))
    builder.method = PLAIN["method"]
    message = builder.to_bytes()
    assert any(w & 7 == 6 and w >> 32 < segments(message) for w in words(message)), "no double-far pointer"
    add("double_far", "url moved within the message: a double-far pointer", message, PLAIN)

    add("later", "later schema: data and pointer section are longer, a hole is filled", encode(v2, PLAIN, LATER), PLAIN)
    add("later_segments", "later schema, every object in its own segment", encode(v2, PLAIN, LATER, split=True), PLAIN)
    nest = v2.new_message(resourceId=1, next={"resourceId": 2, "next": {"url": "/inner", "remoteAddr": "198.51.100.1"}})
    add("later_nested", "later schema: an unknown field holds whole records", encode(v2, PLAIN, {"next": nest}), PLAIN)
    for count in (511, 512):
        tags = count - 7  # root, struct, list and four texts have the others
        message = encode(v2, PLAIN, {"tags": ["t"] * tags}, split=True, extra_first=True)
        limit = "; one more than the capnp crate's own limit" if count == 512 else ""
        add(f"segments_{count}", f"{count} segments, the known texts in the last four{limit}", message, PLAIN)

    numbers = {k: PLAIN[k] for k in list(NUMBERS)[:4]}
    add("earlier", "earlier schema without url", encode(v1, {k: v for k, v in PLAIN.items() if k != "url"}), PLAIN | {"url": b""})
    add("earlier_numbers", "earliest schema: four numbers, no status, no pointers", encode(v0, numbers),
        NUMBERS_ONLY | {"response_status": 0})

    add_now("texts_empty", "texts there, but empty", cache_status=b"", method=b"", remote_addr=b"", url=b"")
    add_now("texts_null", "all four text pointers null", cache_status=None, method=None, remote_addr=None, url=None)
    add("all_default", "a record in which nothing was set", encode(now, {}), dict.fromkeys(NUMBERS, 0) | dict.fromkeys(TEXTS, b""))
    add_now("not_utf8", "bytes that are no UTF-8, and a NUL inside", url=b"/\xff\xfe\x00\xc3\x28\x80", method=b"G\xe9T", cache_status=b"\xf0\x9f")
    add_now("every_byte", "all 256 byte values", url=bytes(range(256)))
    add_now("utf8", "valid UTF-8 beyond ASCII", url="/wörld/😀/\u202e".encode(), method="GËT".encode())
    for n in (127, 128, 16383, 16384):
        add_now(f"url_{n}", f"url of {n} bytes: RowBinary's length grows at 128 and 16384", url=b"/" * n)
    add_now("long_low_cardinality", "long cache_status and method", cache_status=b"c" * 300, method=b"m" * 300)

    for name, address in {
        "addr_v6": b"2001:db8:85a3::8a2e:370:7334", "addr_v6_loopback": b"::1", "addr_v6_upper": b"2001:DB8:AB::1",
        "addr_v6_port": b"[2001:db8::1]:80", "addr_v6_zone": b"fe80::1%eth0", "addr_mapped": b"::ffff:192.0.2.77",
        "addr_mapped_hex": b"::ffff:c000:24d", "addr_port": b"192.0.2.77:443", "addr_bad_port": b"192.0.2.77:99999",
        "addr_leading_zero": b"192.0.02.77", "addr_junk": b"secret-host-7.example", "addr_list": b"192.0.2.77, 198.51.100.8",
        "addr_newline": b"192.0.2.77\n", "addr_tab": b"\t192.0.2.77", "addr_nul": b"192.0.2.77\0", "addr_nul_inside": b"192.0.2.77\0.8",
        "addr_not_utf8": b"192.0.2.\xff", "addr_arabic_digits": "\u0661\u0669\u0662.0.2.77".encode(), "addr_binary": bytes([192, 0, 2, 77]),
        "addr_long": b"192.0.2.77" * 100,
    }.items():
        add_now(name, f"remote_addr {address[:40].decode('latin-1')!r}", remote_addr=address)

    top = 2**64 - 1
    add_now("max", "every number at its maximum, the timestamp at DateTime's", timestamp_epoch_milli=DATETIME_LAST * 1000 + 999,
            resource_id=top, bytes_sent=top, request_time_milli=top, response_status=65535)
    add_now("zeros", "every number zero", **dict.fromkeys(NUMBERS, 0))
    add_now("time_999", "999 ms: floor, not rounding", timestamp_epoch_milli=999)
    add_now("time_i32", "a second past the signed 32-bit range", timestamp_epoch_milli=(2**31) * 1000)
    add_now("time_past_datetime", "first millisecond past DateTime", timestamp_epoch_milli=(DATETIME_LAST + 1) * 1000)
    add_now("time_wraps", "microseconds by mistake; cut to 32 bits it would look like a date", timestamp_epoch_milli=1_700_000_000_123_456)
    add_now("time_max", "largest timestamp", timestamp_epoch_milli=top)

    plain = encode(now, PLAIN)
    add("trailing_words", "three words after the end", plain + b"\xa5" * 24, PLAIN)
    add("trailing_message", "a second record after the first; one message a Kafka record, so it is not read",
        plain + encode(now, PLAIN | {"resource_id": 1}), PLAIN)

    def hand(name, why, *parts, fields=NUMBERS_ONLY):
        add(name, why, frame(*parts), fields, by="hand")

    nothing = dict.fromkeys(NUMBERS, 0) | dict.fromkeys(TEXTS, b"")
    hand("root_null", "null root pointer: all defaults", [0], fields=nothing)
    hand("root_zero_sized", "root is a struct of no words: all defaults", [struct_ptr(-1, 0, 0)], fields=nothing)
    hand("text_before_struct", "texts lie before their pointers, and the struct after them",
         [struct_ptr(1, 5, 4), words(b"/early\0")[0], *[PLAIN[n] for n in NUMBERS], 0, 0, 0, list_ptr(-10, BYTE, 7)],
         fields=NUMBERS_ONLY | {"url": b"/early"})
    hand("segment_empty_between", "an empty segment between two used ones", by_hand(url=far_ptr(2, 0)), [],
         [list_ptr(0, BYTE, 3), *words(b"/z\0")], fields=NUMBERS_ONLY | {"url": b"/z"})
    later = [struct_ptr(0, 6, 6), *[PLAIN[n] for n in NUMBERS], 0, 0, 0, 0, 0]
    depth = 200
    hand("later_deep", f"an unknown field nests {depth} structs: not to be walked",
         [*later, struct_ptr(1, 0, 1), 0, *[struct_ptr(0, 0, 1)] * depth, 0])
    hand("later_huge_list", "an unknown field is a list of 2^29-1 structs of no words: not to be walked",
         [*later, list_ptr(1, COMPOSITE, 0), 0, struct_ptr(2**29 - 1, 0, 0)])
    return out


def bad_files():
    """name -> (why, must, message)"""
    now, v2 = load(SCHEMA), load(HERE / "http_log_v2.capnp")
    plain, split = encode(now, PLAIN), encode(now, PLAIN, split=True)
    builder = now.new_message(**{key: PLAIN[name] for name, key in NUMBERS.items()}, url="/packed")
    out = {}

    def add(name, why, message, must="quarantine"):
        out[name + ".capnp"] = (why, must, message)

    def hand(name, why, *parts, must="quarantine"):
        add(name, why, frame(*parts), must)

    add("empty", "no bytes (a Kafka tombstone's payload)", b"")
    for n in (1, 3, 4, 7, 8, 9, 16, 48, len(plain) // 2, len(plain) - 8, len(plain) - 1):
        add(f"cut_{n}", f"a good record of {len(plain)} bytes cut after {n}", plain[:n])
    add("cut_table", "six segments, cut within the segment table", split[:12])
    add("cut_after_table", "six segments, nothing after the segment table", split[:32])
    add("cut_last_segment", "six segments, the last one missing its last word", split[:-8])
    for n in (8, 64, 1000):
        add(f"random_{n}", f"{n} random bytes", random.Random(n).randbytes(n))
    add("zeros_8", "eight zero bytes: one segment of no words", bytes(8))
    add("ff_64", "64 bytes of ff", b"\xff" * 64)
    add("json", "the record as JSON", b'{"timestampEpochMilli": 1700000000123, "remoteAddr": "203.0.113.9", "url": "/"}\n')
    add("packed", "a good record in packed encoding", builder.to_bytes_packed())
    add("no_frame", "a good record without its frame", plain[8:])
    add("shifted", "a good record after a stray byte", b"\0" + plain)
    add("big_endian", "the frame's numbers big-endian", struct.pack(">II", 0, len(plain) // 8 - 1) + plain[8:])

    body = plain[8:]
    for name, count in {"ffffffff": 2**32 - 1, "fffffffe": 2**32 - 2, "7fffffff": 2**31 - 1, "million": 10**6 - 1}.items():
        add(f"segment_count_{name}", f"the frame says {count} + 1 segments", struct.pack("<II", count, len(body) // 8) + body)
    add("segment_size_huge", "a segment of 2^32-1 words", struct.pack("<II", 0, 2**32 - 1) + body)
    add("segment_sizes_overflow", "511 segments of 2^32-1 words: the sum passes 2^40", struct.pack("<512I", 510, *[2**32 - 1] * 511) + body)
    add("segment_size_one_more", "one word more than there is", struct.pack("<II", 0, len(body) // 8 + 1) + body)
    hand("segment_first_empty", "the first of two segments is empty: no root", [], by_hand())

    hand("root_out_of_bounds", "root points past the end", [struct_ptr(100, 5, 4)])
    hand("root_before_start", "root points before the start", [struct_ptr(-50, 5, 4), *[0] * 9])
    hand("root_too_big", "root struct is longer than the segment", [struct_ptr(0, 65535, 65535), *[0] * 9])
    hand("root_list", "root is a list", [list_ptr(0, BYTE, 8), 0])
    hand("root_capability", "root is a capability", [3, 0])
    hand("root_far_missing", "root is in a segment that is not there", [far_ptr(7, 0)])
    hand("root_far_self", "root is a far pointer to itself", [far_ptr(0, 0)])
    hand("root_far_loop", "two far pointers point at each other", [far_ptr(1, 0)], [far_ptr(0, 0)])
    hand("root_double_far_self", "a double-far pointer whose pad is itself", [far_ptr(0, 0, True), far_ptr(0, 0, True)])
    hand("root_double_far_loop", "two double-far pads point at each other",
         [far_ptr(1, 0, True), 0], [far_ptr(2, 0, True), struct_ptr(0, 5, 4)], [far_ptr(1, 0, True), struct_ptr(0, 5, 4)])
    hand("root_double_far_short", "a double-far pad of one word", [far_ptr(1, 0, True)], [far_ptr(0, 0)])

    for name in TEXTS:
        hand(f"{name}_out_of_bounds", f"{name} points past the end", by_hand(**{name: text_at(name, 5000, 8)}))
    hand("text_before_start", "url points before the start", by_hand(url=list_ptr(-500, BYTE, 8)))
    hand("text_too_long", "url is longer than the segment", by_hand(words(b"/u\0"), url=text_at("url", END, 9)))
    hand("text_huge", "url of 2^29-1 bytes", by_hand(words(b"/u\0"), url=text_at("url", END, 2**29 - 1)))
    hand("text_no_nul", "url does not end in NUL", by_hand(words(b"/url/url"), url=text_at("url", END, 8)))
    hand("text_no_bytes", "url of no bytes, not even NUL", by_hand(url=text_at("url", END, 0)))
    hand("text_is_u16_list", "url is a list of UInt16", by_hand([0], url=list_ptr(END - 10, TWO_BYTES, 4)))
    hand("text_is_struct_list", "url is a list of structs", by_hand([struct_ptr(1, 1, 0), 0], url=list_ptr(END - 10, COMPOSITE, 1)))
    hand("text_is_void_list", "url is a list of 2^29-1 voids", by_hand(url=list_ptr(END - 10, 0, 2**29 - 1)))
    hand("text_is_struct", "url is a struct", by_hand([0], url=struct_ptr(0, 1, 0)))
    hand("text_is_capability", "url is a capability", by_hand(url=3))
    hand("text_far_missing", "url is in a segment that is not there", by_hand(url=far_ptr(9, 0)))
    hand("text_far_out_of_bounds", "url's landing pad is past the end", by_hand(url=far_ptr(0, 2**29 - 1)))
    hand("text_far_self", "url is a far pointer to itself", by_hand(url=far_ptr(0, FIELD["url"])))
    hand("text_far_loop", "url: two far pointers point at each other", by_hand(url=far_ptr(1, 0)), [far_ptr(0, FIELD["url"])])
    chain = [[far_ptr(n + 2, 0)] for n in range(60)]
    hand("text_far_chain", "url: 60 far pointers in a row, then a text", by_hand(url=far_ptr(1, 0)), *chain, [list_ptr(0, BYTE, 3), *words(b"/z\0")])

    size = 4000
    shared = [list_ptr(0, BYTE, size), *words(b"A" * (size - 1) + b"\0")]
    hand("amplified", "all four texts are the same far text: four times the size, no more", by_hand(**dict.fromkeys(TEXTS, far_ptr(1, 0))), shared, must="either")
    hand("overlap", "url's bytes are the struct's own numbers", by_hand(url=list_ptr(-9, BYTE, 40)), must="either")
    hand("later_out_of_bounds", "only an unknown field is broken", [struct_ptr(0, 5, 5), *by_hand()[1:], struct_ptr(9999, 1, 1)], must="either")
    add("trailing_bytes", "a good record, then three bytes that are no word", plain + b"abc", must="either")
    tags = encode(v2, PLAIN, {"tags": ["t"] * 1993}, split=True)
    assert segments(tags) == 2000
    add("segments_2000", "a good record in 2000 segments", tags, must="either")
    return out


def latin1(fields):
    return {k: v.decode("latin-1") if isinstance(v, bytes) else v for k, v in fields.items()}


def build() -> dict:
    """Path under data/golden -> content. Raises if the reference or the engine disagrees with us."""
    reference, engine = Reference(), Engine()
    out, manifest = {}, {"good": [], "bad": []}
    try:
        for name, (why, by, message, fields) in good_files().items():
            assert (read := reference.read(message)) == fields, f"{name}: {read}"
            if found := re.match(r"segments_(\d+)", name):
                assert segments(message) == int(found[1]), f"{name}: {segments(message)} segments"
            entry = {"file": name, "why": why, "by": by, "segments": segments(message), "fields": latin1(fields),
                     "masked": mask(fields["remote_addr"]).decode()}
            row, reason = row_or_reason(fields)
            if row is None:
                entry["quarantine"] = reason
            else:
                assert (wrong := engine.complaint(fields, row)) is None, f"{name}: {wrong}"
                entry["row"] = row.hex()
            out[name] = message
            manifest["good"].append(entry)
    finally:
        engine.close()
    for name, (why, must, message) in bad_files().items():
        verdict = "accepts" if reference.accepts(message) else "rejects"
        assert must == "either" or verdict == "rejects", f"{name}: the reference reads it"
        out["bad/" + name] = message
        manifest["bad"].append({"file": "bad/" + name, "why": why, "reference": verdict, "must": must})
    for section, entries in manifest.items():
        assert len({out[e["file"]] for e in entries}) == len(entries), f"two {section} files are the same"
    out["mask.tsv"] = mask_table()
    lines = {s: ",\n".join(json.dumps(e) for e in entries) for s, entries in manifest.items()}
    out["manifest.json"] = "{{\"good\": [\n{good}\n], \"bad\": [\n{bad}\n]}}\n".format(**lines).encode()
    return out


def main():
    files = build()
    (OUT / "bad").mkdir(parents=True, exist_ok=True)
    for old in [*OUT.glob("*.capnp"), *OUT.glob("bad/*.capnp")]:
        old.unlink()
    for name, content in files.items():
        (OUT / name).write_bytes(content)
    total = sum(map(len, files.values()))
    print(f"{len(files)} files, {total} bytes, {len(MASK_INPUTS)} masks, in {OUT}")


if __name__ == "__main__":
    sys.exit(main())
