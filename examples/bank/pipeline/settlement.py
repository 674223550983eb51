"""The service settlement: joins each order with its payment, whichever comes first, enters what is joined, and says that it is settled.

Its state is the halves that wait for the other one, and the orders that were joined, as runs of numbers. An order that is joined again is
entered again; there is no deduplication.
"""

import argparse
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python"))

from batches import add_arguments
from book import Book
from stage import run

OTHER = {"orders": "payments", "payments": "orders"}


def main():
    """Runs the one instance."""
    parser = argparse.ArgumentParser(prog="settlement.py", description="The service settlement of the pipeline")
    add_arguments(parser, "a directory")
    options = parser.parse_args()
    book = Book(options.state)
    topic = f"{options.prefix}settled"

    def work(batch):
        outgoing = []
        with book.page() as page:
            for message in batch:
                half = json.loads(message.value())
                sender, partition = f"{message.topic()}-{message.partition()}", message.partition()
                page.receive(sender, half["from"], half["seq"])
                kind = message.topic()[len(options.prefix) :]
                if page.meet(half["order"], kind, OTHER[kind]):
                    requests, number = half["order"].split(":")
                    page.receive("joined", requests, int(number))
                    page.add(half["account"], half["amount"])
                    seq = page.next_seq(sender, f"{topic}-{partition}")
                    outgoing.append((topic, partition, {**half, "from": sender, "seq": seq}))
        return outgoing

    run(options, "settlement", ["orders", "payments"], work)


if __name__ == "__main__":
    main()
