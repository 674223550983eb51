"""The auditor of the pipeline: reads the books of the three services and counts what does not fit together.

- skewed: records a downstream book holds and its upstream book never sent, and, once nothing is on its way any more, records that were
  sent and never arrived;
- duplicate_joins: orders that were joined more than once;
- diverging: accounts whose settled sum differs from the ordered sum, once nothing is on its way any more.

It prints one line of JSON. It changes nothing, and knows no Kafka.
"""

import argparse
import json
import os
import sqlite3
import time

SERVICES = ("orders", "payments", "settlement")
LOOK_SECONDS = 0.5
# How long nothing may move until it counts as settled, when it is right and when it is not.
QUIET_RIGHT_SECONDS = 2.0
QUIET_WRONG_SECONDS = 8.0
LOCKED_SECONDS_MAX = 20.0


def read(directory, service):
    """A service's book at one moment."""
    path = os.path.join(directory, service, "book.db")
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=LOCKED_SECONDS_MAX, isolation_level=None)
    try:
        # All tables as of the same batch.
        connection.execute("BEGIN")
        rows = {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in ("sums", "sent", "received", "halves")}
    finally:
        connection.close()
    received = {(place, sender): (json.loads(runs), duplicates) for place, sender, runs, duplicates in rows["received"]}
    return {
        "sums": {account: amount for account, amount, _ in rows["sums"]},
        "entries": sum(records for _, _, records in rows["sums"]),
        "sent": {(place, sender): number for sender, place, number in rows["sent"]},
        "joined": {key: entry for key, entry in received.items() if key[0] == "joined"},
        "received": {key: entry for key, entry in received.items() if key[0] != "joined"},
        "halves": sum(number for _, _, number in rows["halves"]),
    }


def within(runs, end):
    """How many numbers of the runs are below an end."""
    return sum(max(0, min(to, end) - start) for start, to in runs)


def held_but_never_sent(books, requests):
    """Records that a book holds and that no book sent."""
    sent = sent_by(books, requests)
    received = [item for book in books.values() for item in book["received"].items()]
    # What the load sent is known only once it has ended.
    judged = [(key, entry) for key, entry in received if requests is not None or key[1] != "load"]
    return sum(within(runs, float("inf")) - within(runs, sent.get(key, 0)) for key, (runs, _) in judged)


def sent_but_never_held(books, requests):
    """Records that a book sent and that no book holds; nobody holds what settlement sends."""
    received = {key: entry for book in books.values() for key, entry in book["received"].items()}
    readable = {key: number for key, number in sent_by(books, requests).items() if key not in books["settlement"]["sent"]}
    return sum(number - within(received.get(key, ([], 0))[0], number) for key, number in readable.items())


def sent_by(books, requests):
    """By place and sender: the next number."""
    sent = {key: number for book in books.values() for key, number in book["sent"].items()}
    sent.update({(place, "load"): number for place, number in (requests or {}).items()})
    return sent


def count(books, requests, settled):
    """All of it; without `settled` only what is wrong at every moment."""
    ordered, joined = books["orders"]["sums"], books["settlement"]["sums"]
    differing = [account for account in ordered.keys() | joined.keys() if ordered.get(account) != joined.get(account)]
    return {
        "skewed": held_but_never_sent(books, requests) + (sent_but_never_held(books, requests) if settled else 0),
        "duplicate_joins": sum(duplicates for _, duplicates in books["settlement"]["joined"].values()),
        "diverging": len(differing) if settled else 0,
        "open_halves": books["settlement"]["halves"],
        "received_twice": sum(duplicates for book in books.values() for _, duplicates in book["received"].values()),
        "joins": books["settlement"]["entries"],
        "settled": settled,
    }


def settle(directory, requests, seconds):
    """Counts once nothing moves any more, or when the time is over."""
    begin = changed = time.monotonic()
    before = None
    while True:
        # Downstream first: what it holds then, its upstream has sent at the latest when its own book is read.
        books = {service: read(directory, service) for service in reversed(SERVICES)}
        now = time.monotonic()
        if books != before:
            before, changed = books, now
        result = count(books, requests, True)
        wrong = result["skewed"] + result["diverging"] + result["open_halves"]
        if now - changed >= (QUIET_WRONG_SECONDS if wrong else QUIET_RIGHT_SECONDS):
            return result
        if now - begin >= seconds:
            return {**result, "settled": False}
        time.sleep(LOOK_SECONDS)


def main():
    """Counts once."""
    parser = argparse.ArgumentParser(prog="count.py", description="The auditor of the pipeline")
    parser.add_argument("--state", required=True, help="the directory with the directories of the three services")
    parser.add_argument("--sent", help="what the load wrote down; none while it runs, or when it was rolled back too")
    parser.add_argument("--settle-seconds", type=float, help="wait at most this long until nothing moves; without, count at once")
    options = parser.parse_args()
    requests = None
    if options.sent:
        with open(options.sent, encoding="utf-8") as file:
            requests = json.load(file)
    if options.settle_seconds is None:
        result = count({service: read(options.state, service) for service in reversed(SERVICES)}, requests, False)
    else:
        result = settle(options.state, requests, options.settle_seconds)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
