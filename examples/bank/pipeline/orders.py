"""The service orders: enters each request into its book, and sends an order to settlement and a charge to payments.

An order has the name of its request, so that a request that is taken twice is an order that is made twice.
"""

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
    parser = argparse.ArgumentParser(prog="orders.py", description="The service orders of the pipeline")
    add_arguments(parser, "a directory")
    options = parser.parse_args()
    book = Book(options.state)

    def work(batch):
        outgoing = []
        with book.page() as page:
            for message in batch:
                request = json.loads(message.value())
                sender = f"{message.topic()}-{message.partition()}"
                page.receive(sender, request["from"], request["seq"])
                page.add(request["account"], request["amount"])
                for kind in ("orders", "charges"):
                    outgoing.append(part_of(page, options, kind, sender, request, f"{message.partition()}:{request['seq']}"))
        return outgoing

    run(options, "orders", ["requests"], work)


def part_of(page, options, kind, sender, request, order):
    """A record of an order to the topic `kind`: its topic, partition and content."""
    topic, partition = f"{options.prefix}{kind}", request["account"] % options.partitions
    seq = page.next_seq(sender, f"{topic}-{partition}")
    return topic, partition, {"from": sender, "seq": seq, "order": order, "account": request["account"], "amount": request["amount"]}


if __name__ == "__main__":
    main()
