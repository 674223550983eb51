"""The usual hot backup of a service's book, by SQLite's own backup, while the service runs: sound in itself, and at a moment of its own."""

import argparse
import os
import sqlite3

LOCKED_SECONDS_MAX = 20.0


def copy(source, target):
    """Copies a book as it is at one moment."""
    os.makedirs(os.path.dirname(target))
    original = sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=LOCKED_SECONDS_MAX)
    duplicate = sqlite3.connect(target)
    try:
        original.backup(duplicate)
    finally:
        duplicate.close()
        original.close()


def main():
    """Copies one service's book."""
    parser = argparse.ArgumentParser(prog="backup.py", description="The usual hot backup of a service's book")
    parser.add_argument("--state", required=True, help="the service's directory")
    parser.add_argument("--to", required=True, help="the directory of the copy, made here")
    options = parser.parse_args()
    copy(os.path.join(options.state, "book.db"), os.path.join(options.to, "book.db"))


if __name__ == "__main__":
    main()
