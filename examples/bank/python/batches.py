"""Records of a consumer group, a batch at a time: taken, worked on by whoever asked, then committed.

A plain at-least-once consumer without any deduplication, on purpose: what a wrong cut loses or doubles stays lost or doubled, and is
counted. Errors of the network are survived for ever; the client library reconnects. It knows nothing of what the records mean.
"""

import os
import sys
import time

from confluent_kafka import Consumer, KafkaException, TopicPartition

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
    program = os.path.splitext(os.path.basename(sys.argv[0]))[0].replace("_", "-")
    print(f"{program}: {text}", file=sys.stderr, flush=True)


class Batches:
    """What one member of a group reads."""

    def __init__(self, options, group, topics, on_change=None):
        self.options = options
        self.on_change = on_change or (lambda places: None)
        self.batch = []
        self.consumer = Consumer(self._config(group))
        self.consumer.subscribe(topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke)

    def take(self):
        """Waits for a first record and takes what follows it within the time and number of a batch; empty when none came."""
        self.batch = []
        deadline = None
        while len(self.batch) < self.options.batch_records_max:
            left = POLL_SECONDS if deadline is None else max(0.0, deadline - time.monotonic())
            # Rebalances happen inside a poll, before what it returns: what was collected of partitions that left goes first.
            message = self.consumer.poll(left)
            if message is None:
                break
            if message.error():
                say(f"poll: {message.error()}")
                continue
            self.batch.append(message)
            if deadline is None:
                deadline = time.monotonic() + self.options.batch_ms_max / 1000
            elif time.monotonic() >= deadline:
                break
        return self.batch

    def commit(self):
        """Commits what was taken last, unless the group has other plans."""
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

    def positions(self):
        """Where it goes on reading: after what it read, else where the group committed, else unknown and left out."""
        assigned = self.consumer.position(self.consumer.assignment())
        unread = [place for place in assigned if place.offset < 0]
        committed = self.consumer.committed(unread, timeout=COMMITTED_SECONDS_MAX) if unread else []
        known = [place for place in assigned + committed if place.offset >= 0]
        return {f"{place.topic}-{place.partition}": place.offset for place in known}

    def close(self):
        """Leaves the group."""
        self.consumer.close()

    def _on_assign(self, _, places):
        say(f"assigned {[(place.topic, place.partition) for place in places]}")
        self.on_change(places)

    def _on_revoke(self, _, places):
        say(f"revoked {[(place.topic, place.partition) for place in places]}")
        self.on_change(places)
        gone = {(place.topic, place.partition) for place in places}
        # Nothing of them was applied yet: whoever gets the partitions gets these records again.
        self.batch = [message for message in self.batch if (message.topic(), message.partition()) not in gone]

    def _config(self, group):
        config = {
            "bootstrap.servers": self.options.bootstrap,
            "group.id": group,
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


def add_arguments(parser, state):
    """The flags every reader has; `state` says what its state may be."""
    env = os.environ.get
    parser.add_argument("--bootstrap", default=env("BANK_BOOTSTRAP"), required="BANK_BOOTSTRAP" not in os.environ, help="Kafka, or the sidecar before it")
    parser.add_argument("--state", default=env("BANK_STATE"), required="BANK_STATE" not in os.environ, help=f"where the service's state is: {state}")
    parser.add_argument("--partitions", type=int, default=int(env("BANK_PARTITIONS", "4")), help="how many partitions each topic has")
    parser.add_argument("--prefix", default=env("BANK_PREFIX", ""), help="what the names of topics and group begin with")
    parser.add_argument("--assignor", default=env("BANK_ASSIGNOR", "range"), help="range, cooperative-sticky, or consumer for KIP-848")
    parser.add_argument("--member", default=env("BANK_MEMBER"), help="a static member's name, none by default")
    parser.add_argument("--batch-records-max", type=int, default=500, help="the most records of one batch")
    parser.add_argument("--batch-ms-max", type=int, default=50, help="how long a batch is collected at most")
