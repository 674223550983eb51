"""The state of group A: rows in PostgreSQL, written in one transaction a batch.

Nothing is cached: what the database says is the state, so that whoever puts other rows there is believed.
"""

import json

import psycopg

from prefix import new_prefix

TABLES = """
    CREATE TABLE IF NOT EXISTS prefixes (
        place TEXT PRIMARY KEY, count BIGINT NOT NULL, sum BIGINT NOT NULL, chain TEXT NOT NULL, runs JSONB NOT NULL, duplicates BIGINT NOT NULL
    );
    CREATE TABLE IF NOT EXISTS balances (place TEXT, account INTEGER, amount BIGINT NOT NULL, PRIMARY KEY (place, account));
"""
PREFIXES = "SELECT place, count, sum, chain, runs, duplicates FROM prefixes"


class InPostgres:
    """Prefixes and balances in a database."""

    def __init__(self, url):
        self.connection = psycopg.connect(url)
        with self.connection.transaction():
            self.connection.execute(TABLES)

    def load(self, place):
        """The prefix of a place, and none of its balances: they are added to where they are."""
        with self.connection.transaction():
            row = self.connection.execute(f"{PREFIXES} WHERE place = %s", (place,)).fetchone()
        return _prefix(row) if row else new_prefix()

    def save(self, prefixes, changes):
        """Writes prefixes, and adds changes of balances, both by place."""
        with self.connection.transaction(), self.connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO prefixes VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (place) DO UPDATE SET count = excluded.count,"
                " sum = excluded.sum, chain = excluded.chain, runs = excluded.runs, duplicates = excluded.duplicates",
                [(place, p["count"], p["sum"], p["chain"], json.dumps(p["runs"]), p["duplicates"]) for place, p in prefixes.items()],
            )
            cursor.executemany(
                "INSERT INTO balances VALUES (%s, %s, %s) ON CONFLICT (place, account) DO UPDATE SET amount = balances.amount + excluded.amount",
                [(place, account, amount) for place, amounts in changes.items() for account, amount in amounts.items()],
            )

    def everything(self):
        """All there is at one moment: prefix and balances by place."""
        with self.connection.transaction():
            self.connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            all_of_it = {row[0]: {**_prefix(row), "balances": {}} for row in self.connection.execute(PREFIXES)}
            for place, account, amount in self.connection.execute("SELECT place, account, amount FROM balances"):
                all_of_it[place]["balances"][account] = amount
        return all_of_it

    def spoil(self):
        """Sets what is there to nonsense. Locked in the order of `save`: rows one by one could meet it in a deadlock."""
        with self.connection.transaction():
            self.connection.execute("LOCK TABLE prefixes, balances IN EXCLUSIVE MODE")
            self.connection.execute("UPDATE prefixes SET sum = 13, chain = 'nonsense'")
            self.connection.execute("DELETE FROM balances WHERE account % 2 = 0")


def _prefix(row):
    _, count, total, chain, runs, duplicates = row
    return {"count": count, "sum": total, "chain": chain, "runs": runs, "duplicates": duplicates}

