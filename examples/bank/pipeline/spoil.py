"""A fat-fingered script: doubles every sum in the books and forgets what was received and sent."""

import argparse
import os
import sqlite3

SERVICES = ("orders", "payments", "settlement")
LOCKED_SECONDS_MAX = 20.0


def main():
    """Spoils all three books."""
    parser = argparse.ArgumentParser(prog="spoil.py", description="Spoils the pipeline's books")
    parser.add_argument("--state", required=True, help="the directory with the directories of the three services")
    options = parser.parse_args()
    for service in SERVICES:
        connection = sqlite3.connect(os.path.join(options.state, service, "book.db"), timeout=LOCKED_SECONDS_MAX)
        with connection:
            connection.execute("UPDATE sums SET amount = 2 * amount")
            connection.execute("UPDATE sent SET next = 0")
            connection.execute("DELETE FROM halves")
        connection.close()


if __name__ == "__main__":
    main()
