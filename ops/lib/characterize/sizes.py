"""What the tables take: rows, bytes and parts of each table and column, and how far they are merged."""

from .engine import Engine


def sizes(engine: Engine) -> dict:
    """By table: rows, bytes on disk, parts, columns with their bytes. `bytes` has everything in the parts,
    so it is a little more than the columns' sum (marks, primary key, checksums)."""
    tables = {}
    for table, rows, size, plain, parts, biggest in engine.rows(
        "SELECT table, sum(rows), sum(bytes_on_disk), sum(data_uncompressed_bytes), count(), max(rows) "
        "FROM system.parts WHERE active AND database = 'default' GROUP BY table ORDER BY table"
    ):
        tables[table] = {
            "rows": int(rows), "bytes": int(size), "uncompressed": int(plain), "parts": int(parts),
            "largest_part_rows": int(biggest), "columns": {},
        }  # fmt: skip
    for table, column, size in engine.rows(
        "SELECT table, column, sum(column_bytes_on_disk) FROM system.parts_columns "
        "WHERE active AND database = 'default' GROUP BY table, column ORDER BY table, column"
    ):
        tables[table]["columns"][column] = int(size)
    return tables


def finals(engine: Engine) -> dict:
    """Rows that each totals table would have when merged to the end."""
    found = {}
    for (table,) in engine.rows(
        "SELECT name FROM system.tables WHERE database = 'default' AND engine LIKE '%SummingMergeTree'"
    ):
        found[table] = int(engine.value(f"SELECT count() FROM `{table}` FINAL"))
    return found
