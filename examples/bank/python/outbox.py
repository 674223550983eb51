"""Sending a batch of records and waiting until all are acknowledged.

It does not give up: a broker or a sidecar that is away is waited for. It knows nothing of what the records mean.
"""

import json
import time

from confluent_kafka import KafkaException, Producer

from batches import say

FLUSH_SECONDS = 1.0
REPLACE_SECONDS = 0.5


class Outbox:
    """The way out."""

    def __init__(self, bootstrap):
        self.returned = []
        self.config = {
            "bootstrap.servers": bootstrap,
            "acks": "all",
            # Repeats by the client library itself would look like the application's: the broker drops them.
            "enable.idempotence": True,
            "message.timeout.ms": 0,
            "linger.ms": 5,
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 500,
            "error_cb": self._on_error,
        }
        self.fatal = False
        self.producer = Producer(self.config)

    def send_all(self, batch):
        """Sends all, each a topic, a partition and a record, and returns when all are acknowledged, however long that takes."""
        parcels = [(topic, partition, json.dumps(record, separators=(",", ":"))) for topic, partition, record in batch]
        while parcels:
            for parcel in parcels:
                self._enqueue(*parcel)
            # What is left after a flush waits for a broker that is away, or for a gate that is closed.
            while self.producer.flush(FLUSH_SECONDS) > 0:
                pass
            parcels, self.returned = self.returned, []
            if self.fatal:
                self._replace_producer()

    def _enqueue(self, topic, partition, payload):
        while True:
            try:
                self.producer.produce(topic, payload, partition=partition, on_delivery=self._on_delivery)
                return
            except BufferError:
                self.producer.poll(FLUSH_SECONDS)
            except KafkaException as error:
                if not error.args[0].fatal() and error.args[0].name() != "_FATAL":
                    raise
                # Returned by a producer that is fatally wrong; a new one sends it again.
                self.fatal = True
                self.returned.append((topic, partition, payload))
                return

    def _on_delivery(self, error, message):
        if error is not None:
            say(f"a record came back and is sent again: {error}")
            self.returned.append((message.topic(), message.partition(), message.value().decode()))

    def _on_error(self, error):
        if error.fatal():
            self.fatal = True

    def _replace_producer(self):
        say("the producer is fatally wrong, a new one takes its place")
        time.sleep(REPLACE_SECONDS)
        self.fatal = False
        self.producer = Producer(self.config)
