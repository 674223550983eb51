"""The service payments: enters each charge into its book, and tells settlement that it is paid."""

import argparse
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python"))

from batches import add_arguments
from book import Book
from stage import run


def main():
    """Runs the one instance."""
    parser = argparse.ArgumentParser(prog="payments.py", description="The service payments of the pipeline")
    add_arguments(parser, "a directory")
    options = parser.parse_args()
    book = Book(options.state)
    topic = f"{options.prefix}payments"

    def work(batch):
        outgoing = []
        with book.page() as page:
            for message in batch:
                charge = json.loads(message.value())
                sender, partition = f"{message.topic()}-{message.partition()}", message.partition()
                page.receive(sender, charge["from"], charge["seq"])
                page.add(charge["account"], charge["amount"])
                seq = page.next_seq(sender, f"{topic}-{partition}")
                outgoing.append((topic, partition, {**charge, "from": sender, "seq": seq}))
        return outgoing

    run(options, "payments", ["charges"], work)


if __name__ == "__main__":
    main()
