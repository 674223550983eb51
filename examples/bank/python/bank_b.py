"""One instance of bank B: take a batch, apply it, send what it causes, keep the state, commit the offsets, in that order.

The twin of bank A in another language. A plain at-least-once consumer without any deduplication, on purpose: what a wrong cut loses or
doubles stays lost or doubled, and is counted. When a commit is seen, the state, the acknowledged transfers and the input of a record are
complete together. Errors of the network are survived for ever; the client library reconnects.
"""

import argparse
import json
import os
import secrets
import signal
import sys

import hook
from batches import Batches, add_arguments
from ledger import Ledger
from ledger_redis import RedisLedger
from outbox import Outbox
from shard import apply


class Service:
    """One instance."""

    def __init__(self, options):
        self.options = options
        self.orders = f"{options.prefix}orders-b"
        self.route = {"topic": f"{options.prefix}transfers-a", "partitions": options.partitions}
        is_redis = options.state.startswith("redis://")
        self.ledger = RedisLedger(options.state) if is_redis else Ledger(options.state)
        self.outbox = Outbox(options.bootstrap)
        self.pause = hook.Pause(options.lease_seconds)
        # By partition: the term, and how many records the shard had when it was last written in it.
        self.tenures = {}
        self.stopping = False
        topics = [self.orders, f"{options.prefix}transfers-b"]
        self.batches = Batches(options, f"{options.prefix}bank-b", topics, self._forget)
        if options.hook:
            hook.serve(options.hook, self.pause, self.ledger)

    def run(self):
        """Serves until told to end."""
        while not self.stopping:
            if self.pause.is_asked_for():
                # Heartbeats go on by themselves: the client library has a thread for them.
                self.pause.stand_still(self.batches.positions())
            batch = self.batches.take()
            if batch:
                self._handle(batch)
        self.batches.close()

    def stop(self, *_):
        """Ends the loop after the batch at work."""
        self.stopping = True

    def _handle(self, batch):
        shards, outgoing = self._apply(batch)
        self.outbox.send_all(outgoing)
        self.ledger.save(shards.values())
        for place, shard in shards.items():
            self.tenures[place] = (self.tenures[place][0], shard["records"])
        self.batches.commit()

    def _apply(self, batch):
        shards = {}
        outgoing = []
        for message in batch:
            place = (message.topic(), message.partition())
            shard = shards.get(place)
            if shard is None:
                shard = shards[place] = self._take_up(place)
            record = json.loads(message.value())
            caused = apply(shard, place[0] == self.orders, record, self.tenures[place][0], self.route)
            if caused is not None:
                outgoing.append((self.route["topic"], *caused))
        return shards, outgoing

    def _take_up(self, place):
        """Reads a shard; when someone else wrote it since this instance did, a new term begins."""
        shard = self.ledger.load(f"{place[0]}-{place[1]}")
        known = self.tenures.get(place)
        if known is None or known[1] != shard["records"]:
            self.tenures[place] = (secrets.token_hex(4), shard["records"])
        return shard

    def _forget(self, places):
        for place in places:
            self.tenures.pop((place.topic, place.partition), None)


def parse(arguments):
    """The options, from flags and the environment."""
    parser = argparse.ArgumentParser(prog="bank_b.py", description="One instance of bank B")
    env = os.environ.get
    add_arguments(parser, "a directory, or redis://HOST:PORT/DB?prefix=PREFIX; instances may share it")
    parser.add_argument("--hook", type=int, default=int(env("BANK_HOOK", "0")), help="serve the hook on this port of 127.0.0.1; 0 for no hook")
    parser.add_argument("--lease-seconds", type=float, default=10.0, help="after how long a pause ends by itself")
    return parser.parse_args(arguments)


def main():
    """Runs one instance until SIGTERM or SIGINT."""
    service = Service(parse(sys.argv[1:]))
    signal.signal(signal.SIGTERM, service.stop)
    signal.signal(signal.SIGINT, service.stop)
    service.run()


if __name__ == "__main__":
    main()
