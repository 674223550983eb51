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
import time

from confluent_kafka import Consumer, KafkaException, TopicPartition

import hook
from ledger import Ledger
from ledger_redis import RedisLedger
from outbox import Outbox
from shard import apply

# How long one wait for a record lasts when there is none.
POLL_SECONDS = 0.05
# How long the broker may take to say what is committed.
COMMITTED_SECONDS_MAX = 5.0
COMMIT_RETRY_SECONDS = 0.2
COMMIT_TRIES_MAX = 100
# The group has other plans: whoever has the partitions now gets these records again.
MEMBERSHIP_LOST = {
    "UNKNOWN_MEMBER_ID",
    "ILLEGAL_GENERATION",
    "FENCED_INSTANCE_ID",
    "STALE_MEMBER_EPOCH",
    "_ASSIGNMENT_LOST",
    "_NO_OFFSET",
}


def say(text):
    """Logs a line."""
    print(f"bank-b: {text}", file=sys.stderr, flush=True)


class Service:
    """One instance."""

    def __init__(self, options):
        self.options = options
        self.orders = f"{options.prefix}orders-b"
        self.route = {"topic": f"{options.prefix}transfers-a", "partitions": options.partitions}
        is_redis = options.state.startswith("redis://")
        self.ledger = RedisLedger(options.state) if is_redis else Ledger(options.state)
        self.outbox = Outbox(options.bootstrap, self.route["topic"])
        self.pause = hook.Pause(options.lease_seconds)
        # By partition: the term, and how many records the shard had when it was last written in it.
        self.tenures = {}
        self.batch = []
        self.stopping = False
        self.consumer = Consumer(self._config())
        self.consumer.subscribe(
            [self.orders, f"{options.prefix}transfers-b"],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_revoke,
        )
        if options.hook:
            hook.serve(options.hook, self.pause, self.ledger)

    def run(self):
        """Serves until told to end."""
        while not self.stopping:
            if self.pause.is_asked_for():
                # Heartbeats go on by themselves: the client library has a thread for them.
                self.pause.stand_still(self._positions())
            self._collect()
            if self.batch:
                self._handle()
        self.consumer.close()

    def stop(self, *_):
        """Ends the loop after the batch at work."""
        self.stopping = True

    def _collect(self):
        """Waits for a first record and takes what follows it within the time and number of a batch."""
        self.batch = []
        deadline = None
        while len(self.batch) < self.options.batch_records_max:
            left = POLL_SECONDS if deadline is None else max(0.0, deadline - time.monotonic())
            # Rebalances happen inside a poll, before what it returns: what was collected of partitions that left goes first.
            message = self.consumer.poll(left)
            if message is None:
                return
            if message.error():
                say(f"poll: {message.error()}")
                continue
            self.batch.append(message)
            if deadline is None:
                deadline = time.monotonic() + self.options.batch_ms_max / 1000
            elif time.monotonic() >= deadline:
                return

    def _handle(self):
        shards, outgoing = self._apply()
        self.outbox.send_all(outgoing)
        self.ledger.save(shards.values())
        for place, shard in shards.items():
            self.tenures[place] = (self.tenures[place][0], shard["records"])
        self._commit()

    def _apply(self):
        shards = {}
        outgoing = []
        for message in self.batch:
            place = (message.topic(), message.partition())
            shard = shards.get(place)
            if shard is None:
                shard = shards[place] = self._take_up(place)
            record = json.loads(message.value())
            caused = apply(shard, place[0] == self.orders, record, self.tenures[place][0], self.route)
            if caused is not None:
                outgoing.append(caused)
        return shards, outgoing

    def _take_up(self, place):
        """Reads a shard; when someone else wrote it since this instance did, a new term begins."""
        shard = self.ledger.load(f"{place[0]}-{place[1]}")
        known = self.tenures.get(place)
        if known is None or known[1] != shard["records"]:
            self.tenures[place] = (secrets.token_hex(4), shard["records"])
        return shard

    def _commit(self):
        ends = {(message.topic(), message.partition()): message.offset() + 1 for message in self.batch}
        offsets = [TopicPartition(topic, partition, end) for (topic, partition), end in ends.items()]
        for _ in range(COMMIT_TRIES_MAX):
            try:
                for committed in self.consumer.commit(offsets=offsets, asynchronous=False):
                    if committed.error is not None:
                        raise KafkaException(committed.error)
                return
            except KafkaException as error:
                say(f"commit: {error}")
                if error.args[0].name() in MEMBERSHIP_LOST:
                    return
                time.sleep(COMMIT_RETRY_SECONDS)
        raise RuntimeError("a commit did not succeed in all its tries")

    def _positions(self):
        """Where this instance goes on reading: after what it read, else where the group committed, else unknown and left out."""
        assigned = self.consumer.position(self.consumer.assignment())
        unread = [place for place in assigned if place.offset < 0]
        committed = self.consumer.committed(unread, timeout=COMMITTED_SECONDS_MAX) if unread else []
        known = [place for place in assigned + committed if place.offset >= 0]
        return {f"{place.topic}-{place.partition}": place.offset for place in known}

    def _on_assign(self, _, places):
        say(f"assigned {[(place.topic, place.partition) for place in places]}")
        self._forget(places)

    def _on_revoke(self, _, places):
        say(f"revoked {[(place.topic, place.partition) for place in places]}")
        self._forget(places)
        gone = {(place.topic, place.partition) for place in places}
        # Nothing of them was applied yet: whoever gets the partitions gets these records again.
        self.batch = [message for message in self.batch if (message.topic(), message.partition()) not in gone]

    def _forget(self, places):
        for place in places:
            self.tenures.pop((place.topic, place.partition), None)

    def _config(self):
        config = {
            "bootstrap.servers": self.options.bootstrap,
            "group.id": f"{self.options.prefix}bank-b",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 50,
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 500,
            "error_cb": lambda error: say(error),
        }
        if self.options.assignor == "consumer":
            config["group.protocol"] = "consumer"
        else:
            config["partition.assignment.strategy"] = self.options.assignor
            config["session.timeout.ms"] = 10_000
            config["heartbeat.interval.ms"] = 1_000
        if self.options.member:
            config["group.instance.id"] = self.options.member
        return config


def parse(arguments):
    """The options, from flags and the environment."""
    parser = argparse.ArgumentParser(prog="bank_b.py", description="One instance of bank B")
    env = os.environ.get
    parser.add_argument("--bootstrap", default=env("BANK_BOOTSTRAP"), required="BANK_BOOTSTRAP" not in os.environ, help="Kafka, or the sidecar before it")
    parser.add_argument("--state", default=env("BANK_STATE"), required="BANK_STATE" not in os.environ, help="where the service's state is: a directory, or redis://HOST:PORT/DB?prefix=PREFIX; instances may share it")
    parser.add_argument("--partitions", type=int, default=int(env("BANK_PARTITIONS", "4")), help="how many partitions the other bank's transfers have")
    parser.add_argument("--prefix", default=env("BANK_PREFIX", ""), help="what the names of topics and group begin with")
    parser.add_argument("--assignor", default=env("BANK_ASSIGNOR", "range"), help="range, cooperative-sticky, or consumer for KIP-848")
    parser.add_argument("--member", default=env("BANK_MEMBER"), help="a static member's name, none by default")
    parser.add_argument("--batch-records-max", type=int, default=500, help="the most records of one batch")
    parser.add_argument("--batch-ms-max", type=int, default=50, help="how long a batch is collected at most")
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
