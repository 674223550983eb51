"""The auditor of the mirror: compares what PostgreSQL and Redis hold, partition by partition, with each other and with the log.

- prefix_differences: partitions of which a place does not hold exactly the records [0, c): number, sum, balances or hash chain differ from
  the log's own; with `--positions` c is what a checkpoint says, without it is the end of the partition;
- lost and duplicates: records, by what the load wrote down, that a place never entered, or entered again.

It prints one line of JSON. It reads the databases directly, and Kafka without a group and without a sidecar.
"""

import argparse
import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python"))

from confluent_kafka import Consumer, TopicPartition

from in_postgres import InPostgres
from in_redis import InRedis
from prefix import enter, new_prefix

LOOK_SECONDS = 0.5
REQUEST_SECONDS_MAX = 10.0
# How long the broker may give nothing until the end of a partition is taken for unreachable.
SILENCE_SECONDS_MAX = 20.0
FETCH_RECORDS_MAX = 5_000


class Log:
    """The topics themselves."""

    def __init__(self, bootstrap, places):
        self.places = places
        self.consumer = Consumer(
            {"bootstrap.servers": bootstrap, "group.id": "mirror-auditor", "enable.auto.commit": False, "enable.partition.eof": True}
        )

    def ends(self):
        """The end of each partition."""
        return {
            f"{topic}-{partition}": self.consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=REQUEST_SECONDS_MAX)[1]
            for topic, partition in self.places
        }

    def prefixes(self, ends):
        """What the records below these offsets come to, by place."""
        return {f"{topic}-{partition}": self._prefix(topic, partition, ends[f"{topic}-{partition}"]) for topic, partition in self.places}

    def _prefix(self, topic, partition, end):
        prefix, balances = new_prefix(), {}
        self.consumer.assign([TopicPartition(topic, partition, 0)])
        heard = time.monotonic()
        while end > 0:
            messages = self.consumer.consume(FETCH_RECORDS_MAX, timeout=0.5)
            if messages:
                heard = time.monotonic()
            elif time.monotonic() - heard > SILENCE_SECONDS_MAX:
                sys.exit(f"count: {topic}-{partition} cannot be read up to {end}")
            for message in messages:
                # The end of the partition comes as an error; what lies between the last record and it are markers.
                if message.offset() >= end or message.error():
                    return {**prefix, "balances": balances}
                enter(prefix, balances, topic, message.value())
        return {**prefix, "balances": balances}


def differences(log, held):
    """How many partitions are held otherwise than the log has them."""
    empty = {**new_prefix(), "balances": {}}
    return sum(1 for place in log.keys() | held.keys() if log.get(place, empty) != held.get(place, empty))


def missing(sent, held):
    """How many numbers of what was sent a place did not enter."""
    entered = {place: sum(to - start for start, to in prefix["runs"]) for place, prefix in held.items()}
    return sum(number - entered.get(place, 0) for place, number in sent.items())


def count(log, ends, states, sent):
    """All of it, over both states."""
    expected = log.prefixes(ends)
    held = [state.everything() for state in states]
    return {
        "prefix_differences": sum(differences(expected, each) for each in held),
        "between_each_other": differences(held[0], held[1]),
        "lost": sum(missing(sent, each) for each in held) if sent else 0,
        "duplicates": sum(prefix["duplicates"] for each in held for prefix in each.values()),
        "records": sum(prefix["count"] for prefix in expected.values()),
    }


def wait_caught_up(states, sent, seconds):
    """Waits until both hold as many records as were sent; whether they do."""
    begin = time.monotonic()
    while any(sum(prefix["count"] for prefix in state.everything().values()) < sum(sent.values()) for state in states):
        if time.monotonic() - begin > seconds:
            return False
        time.sleep(LOOK_SECONDS)
    return True


def main():
    """Counts once. The addresses of both states are taken from the environment: they may hold passwords."""
    parser = argparse.ArgumentParser(prog="count.py", description="The auditor of the mirror; MIRROR_POSTGRES and MIRROR_REDIS say where the states are")
    parser.add_argument("--bootstrap", required=True, help="Kafka")
    parser.add_argument("--prefix", default="", help="what the names of topics begin with")
    parser.add_argument("--partitions", type=int, default=4, help="how many partitions each topic has")
    parser.add_argument("--positions", help="a JSON object: by topic-partition, up to where both must have read; without, the ends")
    parser.add_argument("--sent", help="what the load wrote down when it ended")
    parser.add_argument("--settle-seconds", type=float, default=0.0, help="wait at most this long until both have caught up with what was sent")
    parser.add_argument("--spoil", action="store_true", help="do not count: set what both hold to nonsense")
    options = parser.parse_args()
    states = [InPostgres(os.environ["MIRROR_POSTGRES"]), InRedis(os.environ["MIRROR_REDIS"])]
    if options.spoil:
        for state in states:
            state.spoil()
        return
    log = Log(options.bootstrap, [(f"{options.prefix}{topic}", p) for topic in ("deposits", "withdrawals") for p in range(options.partitions)])
    sent = None
    if options.sent:
        with open(options.sent, encoding="utf-8") as file:
            sent = json.load(file)
    settled = wait_caught_up(states, sent, options.settle_seconds) if sent else True
    ends = json.loads(options.positions) if options.positions else log.ends()
    print(json.dumps({**count(log, ends, states, sent), "settled": settled}))


if __name__ == "__main__":
    main()
