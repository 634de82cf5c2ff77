"""What the gateway must know of SQL and of ClickHouse's errors: where an INSERT's data begins,
whether a text is one statement, and which HTTP status belongs to which exception code."""

import re
from typing import NamedTuple, Optional

TOKEN = re.compile(
    rb"(?P<skip>\s+|--[^\n]*|/\*.*?\*/)"
    rb"|(?P<quoted>'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`|\"(?:[^\"\\]|\\.)*\")"
    rb"|(?P<word>[A-Za-z_]\w*)"
    rb"|(?P<other>.)",
    re.DOTALL,
)


class Insert(NamedTuple):
    """An INSERT whose rows are data, not a SELECT."""

    into: str  # "INSERT INTO t (a, b)"
    settings: str  # "SETTINGS a = 1", or empty
    format: Optional[str]  # None: the text ended before FORMAT
    data_at: int  # byte offset of the first data byte


def split_insert(sql: bytes) -> Optional[Insert]:
    """Cut an INSERT at its data, as the server's parser does; None for any other statement."""
    depth, words, before, settings_at = 0, 0, b"", None
    tokens = TOKEN.finditer(sql)
    for token in tokens:
        if token.lastgroup == "skip":
            continue
        text = token.group()
        depth += (text == b"(") - (text == b")")
        word = text.upper() if token.lastgroup == "word" and depth == 0 else b""
        if words == 0 and word != b"INSERT":
            return None
        words += 1
        # After INTO, TABLE or a dot any word is a name: a table may be called `format`.
        is_name = before in (b"INTO", b"TABLE", b".") and word not in (b"TABLE", b"FUNCTION")
        before = word or text
        if not word or is_name:
            continue
        if word in (b"SELECT", b"WITH", b"FROM"):
            return None
        if word == b"SETTINGS":
            settings_at = token.start()
        if word in (b"FORMAT", b"VALUES"):
            head_end, name, data_at = token.start(), b"Values", token.end()
            if word == b"FORMAT":
                follower = next((t for t in tokens if t.lastgroup != "skip"), None)
                if follower is None or follower.lastgroup != "word":
                    return None
                name, data_at = follower.group(), follower.end()
            # The server skips blanks and one line end; what follows is data, whatever it looks like.
            data_at = re.compile(rb"[ \t\f]*;?[ \t\f]*\r?\n?").match(sql, data_at).end()
            return _insert(sql[:head_end], settings_at, name.decode(), data_at)
    return _insert(sql, settings_at, None, len(sql)) if words else None


def _insert(head: bytes, settings_at, name, data_at) -> Insert:
    into = head if settings_at is None else head[:settings_at]
    settings = b"" if settings_at is None else head[settings_at:]
    return Insert(into.decode().rstrip().rstrip(";"), settings.decode().strip(), name, data_at)


def statements(sql: bytes) -> int:
    """How many statements the text holds. The engine would run several; the server refuses that."""
    count, empty = 0, True
    for token in TOKEN.finditer(sql):
        if token.group() == b";":
            empty = True
        elif token.lastgroup != "skip":
            count += empty
            empty = False
    return count


def quote(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


class ClickHouseError(Exception):
    """An answer with an exception code."""

    def __init__(self, code: int, text: str):
        super().__init__(text)
        self.code = code
        self.text = text

    @classmethod
    def own(cls, code: int, name: str, text: str) -> "ClickHouseError":
        """An error of the HTTP interface itself."""
        return cls(code, f"Code: {code}. DB::Exception: {text}. ({name})")

    @classmethod
    def of_engine(cls, error: Exception) -> "ClickHouseError":
        """The engine repeats `Code: N. DB::Exception:` for every layer an error passes: keep one."""
        text = str(error)
        found = re.match(r"(?:Code: (\d+)\. DB::Exception: )+", text)
        if not found:
            return cls(1002, f"Code: 1002. DB::Exception: {text} (UNKNOWN_EXCEPTION)")
        code = int(found.group(1))
        return cls(code, f"Code: {code}. DB::Exception: {text[found.end():]}")


# The server's exceptionCodeToHTTPStatus. All codes not named here are 500.
_STATUS_OF_CODES = {
    401: [194],
    403: [192, 193, 497, 512, 516],
    400: [6, 8, 15, 25, 26, 27, 36, 37, 38, 41, 44, 53, 62, 72, 117, 123, 167, 168, 223, 321, 376, 427, 441, 675, 676],
    404: [46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 152, 336, 511],
    408: [159],
    411: [381],
    413: [229],
    415: [779],
    501: [48],
    503: [76, 209, 439],
}
_STATUS = {code: status for status, codes in _STATUS_OF_CODES.items() for code in codes}


def http_status(code: int) -> int:
    return _STATUS.get(code, 500)
