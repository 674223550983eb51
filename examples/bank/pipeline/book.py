"""The book of one service of the pipeline, in a SQLite file: sums by account, what was sent, what was received.

The file is opened for a batch and closed after it, and nothing is kept between: what the file says is the state, so that whoever puts
another file there is believed. A record is entered whether or not it came before; that it came again is only counted.
"""

import json
import os
import sqlite3
from contextlib import contextmanager

from shard import insert

# How long an auditor that reads may be waited for.
LOCKED_SECONDS_MAX = 20.0
TABLES = """
    CREATE TABLE IF NOT EXISTS sums (account INTEGER PRIMARY KEY, amount INTEGER NOT NULL, records INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS sent (sender TEXT, place TEXT, next INTEGER NOT NULL, PRIMARY KEY (sender, place));
    CREATE TABLE IF NOT EXISTS received (place TEXT, sender TEXT, runs TEXT NOT NULL, duplicates INTEGER NOT NULL, PRIMARY KEY (place, sender));
    CREATE TABLE IF NOT EXISTS halves (id TEXT, kind TEXT, number INTEGER NOT NULL, PRIMARY KEY (id, kind));
"""


class Page:
    """The book while it is open for a batch: numbers are held here and written at the end."""

    def __init__(self, connection):
        self.connection = connection
        self.nexts = {}
        self.seen = {}

    def add(self, account, amount):
        """Enters an amount into the sum of an account."""
        self.connection.execute(
            "INSERT INTO sums VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET amount = amount + excluded.amount, records = records + 1",
            (account, amount),
        )

    def next_seq(self, sender, place):
        """The next number of this sender's records to a place."""
        key = (sender, place)
        if key not in self.nexts:
            row = self.connection.execute("SELECT next FROM sent WHERE sender = ? AND place = ?", key).fetchone()
            self.nexts[key] = row[0] if row else 0
        self.nexts[key] += 1
        return self.nexts[key] - 1

    def receive(self, place, sender, seq):
        """Enters that a sender's record arrived at a place."""
        key = (place, sender)
        if key not in self.seen:
            row = self.connection.execute("SELECT runs, duplicates FROM received WHERE place = ? AND sender = ?", key).fetchone()
            self.seen[key] = {"runs": json.loads(row[0]), "duplicates": row[1]} if row else {"runs": [], "duplicates": 0}
        insert(self.seen[key], seq)

    def meet(self, order, kind, other):
        """One half of an order came: whether the other half was waiting and the two are joined now."""
        taken = self.connection.execute("UPDATE halves SET number = number - 1 WHERE id = ? AND kind = ?", (order, other)).rowcount
        if taken:
            self.connection.execute("DELETE FROM halves WHERE id = ? AND number = 0", (order,))
            return True
        self.connection.execute("INSERT INTO halves VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET number = number + 1", (order, kind))
        return False

    def close(self):
        """Writes what was held."""
        self.connection.executemany("INSERT OR REPLACE INTO sent VALUES (?, ?, ?)", [(*key, seq) for key, seq in self.nexts.items()])
        rows = [(*key, json.dumps(entry["runs"]), entry["duplicates"]) for key, entry in self.seen.items()]
        self.connection.executemany("INSERT OR REPLACE INTO received VALUES (?, ?, ?, ?)", rows)


class Book:
    """A service's book in a directory."""

    def __init__(self, directory):
        os.makedirs(directory, exist_ok=True)
        self.path = os.path.join(directory, "book.db")

    @contextmanager
    def page(self):
        """The book, open for one batch; what is entered is there as a whole afterwards, or not at all."""
        # Without a transaction of its own making, and with a journal that is gone when the batch is: one file is all there is.
        connection = sqlite3.connect(self.path, timeout=LOCKED_SECONDS_MAX, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.executescript(TABLES)
            connection.execute("BEGIN IMMEDIATE")
            page = Page(connection)
            yield page
            page.close()
            connection.execute("COMMIT")
        finally:
            connection.close()
