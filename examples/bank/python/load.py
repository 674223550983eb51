"""Load for an example: numbered records into every partition of its source topics, at a steady rate, open loop.

A record's number, its sequence within its partition, is given when it is produced; the client library keeps the order. At the end, when
all are acknowledged, it writes down how many it sent to each partition. What a record says follows from its number alone.
"""

import argparse
import json
import os
import signal
import sys
import time

from confluent_kafka import Producer

TICK_SECONDS = 0.02
FLUSH_SECONDS = 1.0
ACCOUNTS = 256
AMOUNT_MAX = 100
_WORD = (1 << 64) - 1


def record(place, seq):
    """The record with this number: an account and an amount, well spread (the multiplier is from splitmix64)."""
    mixed = ((seq + 1 + (sum(place.encode()) << 40)) * 0x9E3779B97F4A7C15) & _WORD
    mixed ^= mixed >> 29
    return {"from": "load", "seq": seq, "account": mixed % ACCOUNTS, "amount": 1 + mixed // ACCOUNTS % AMOUNT_MAX}


class Load:
    """What is sent to where."""

    def __init__(self, options):
        self.options = options
        topics = [f"{options.prefix}{topic}" for topic in options.topics.split(",")]
        self.places = [(topic, partition) for partition in range(options.partitions) for topic in topics]
        self.sent = {f"{topic}-{partition}": 0 for topic, partition in self.places}
        self.failed = []
        self.producer = Producer(
            {
                "bootstrap.servers": options.bootstrap,
                "acks": "all",
                "enable.idempotence": True,
                "message.timeout.ms": 0,
                "linger.ms": 5,
                "reconnect.backoff.max.ms": 500,
            }
        )

    def run(self, stopping):
        """Sends until told to stop or until the time is over, then waits for the last acknowledgement."""
        begin = time.monotonic()
        total = 0
        while not stopping and time.monotonic() - begin < self.options.seconds:
            due = int((time.monotonic() - begin) * self.options.rate)
            while total < due:
                self._send(*self.places[total % len(self.places)])
                total += 1
            self.producer.poll(TICK_SECONDS)
        while self.producer.flush(FLUSH_SECONDS) > 0:
            pass
        if self.failed:
            sys.exit(f"load: not every record was taken: {self.failed[0]}")
        self._write_down()

    def _send(self, topic, partition):
        place = f"{topic}-{partition}"
        payload = json.dumps(record(place[len(self.options.prefix) :], self.sent[place]), separators=(",", ":"))
        while True:
            try:
                self.producer.produce(topic, payload, partition=partition, on_delivery=self._on_delivery)
                break
            except BufferError:
                self.producer.poll(FLUSH_SECONDS)
        self.sent[place] += 1

    def _on_delivery(self, error, _):
        if error is not None:
            self.failed.append(str(error))

    def _write_down(self):
        temporary = self.options.sent + ".tmp"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(self.sent, file)
        os.replace(temporary, self.options.sent)


def main():
    """Runs until SIGTERM, SIGINT or the end of its time."""
    parser = argparse.ArgumentParser(prog="load.py", description="Load for an example")
    parser.add_argument("--bootstrap", required=True, help="Kafka")
    parser.add_argument("--topics", required=True, help="where records go, separated by commas")
    parser.add_argument("--prefix", default="", help="what the names of topics begin with")
    parser.add_argument("--partitions", type=int, default=4, help="how many partitions each topic has")
    parser.add_argument("--rate", type=float, required=True, help="records a second, over all topics")
    parser.add_argument("--seconds", type=float, required=True, help="ends by itself after this long")
    parser.add_argument("--sent", required=True, help="the file in which it writes down at the end what it sent")
    stopping = []
    for wish in (signal.SIGTERM, signal.SIGINT):
        signal.signal(wish, lambda *_: stopping.append(True))
    Load(parser.parse_args()).run(stopping)


if __name__ == "__main__":
    main()
