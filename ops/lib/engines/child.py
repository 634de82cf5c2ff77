"""One engine on one directory, as a process: a line of JSON in, a line of JSON out.

    PYTHON child.py DIR       PYTHON has the release's chDB

In: {"sql": ..., "settings": [[name, value], ...]}; the settings are set one after the other on a
connection of their own. Out: {"answer": text} or {"error": text}.
"""

import json
import os
import sys

# The engine reads rows of an INSERT from the process's own input, and may write to its output.
jobs, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
os.dup2(2, 1)

from chdb.session import Session  # noqa: E402
from chdb.state.sqlitelike import Connection  # noqa: E402


def run(path: str, job: dict) -> dict:
    connection = Connection(path)
    try:
        for name, value in job["settings"]:
            connection.query(f"SET {name} = '{value}'")
        return {"answer": connection.query(job["sql"], "TabSeparated").bytes().decode()}
    except Exception as error:  # noqa: BLE001 (whatever it is, it is the answer)
        return {"error": str(error)}
    finally:
        connection.close()


def main():
    path = sys.argv[1]
    session = Session(path)  # keeps the database open between jobs
    for line in jobs:
        print(json.dumps(run(path, json.loads(line))), file=answers, flush=True)
    session.close()


main()
