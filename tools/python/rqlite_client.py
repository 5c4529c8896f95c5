"""Reads a member's state with pyrqlite and prints what it got as JSON.

Arguments: host, port, token. Run by the end-to-end tests.
"""

import json
import sys

import pyrqlite.dbapi2 as dbapi2


def refusal(connection, statement):
    try:
        connection.cursor().execute(statement)
    except dbapi2.Error as e:
        return str(e)
    return None


def main():
    host, port, token = sys.argv[1:]
    connection = dbapi2.connect(host=host, port=int(port), user="anyone", password=token)
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, status, priority, name FROM tasks WHERE id >= ? AND status = ? ORDER BY id", ("a", "PENDING"))
        columns = [d[0] for d in cursor.description]
        rows = [dict(r) for r in cursor.fetchall()]
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) AS tasks FROM tasks", consistency="strong")
        count = cursor.fetchone()["tasks"]
    print(json.dumps({
        "columns": columns,
        "rows": rows,
        "count": count,
        "write": refusal(connection, "DELETE FROM tasks"),
        "failed": refusal(connection, "SELECT nix FROM tasks"),
    }))
    connection.close()


if __name__ == "__main__":
    main()
