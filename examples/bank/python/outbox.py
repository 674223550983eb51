"""Sending a batch of transfers and waiting until all are acknowledged.

It does not give up: a broker or a sidecar that is away is waited for. It knows nothing of what the records mean.
"""

import json
import sys
import time

from confluent_kafka import KafkaException, Producer

FLUSH_SECONDS = 1.0
REPLACE_SECONDS = 0.5


class Outbox:
    """The way out, to one topic."""

    def __init__(self, bootstrap, topic):
        self.topic = topic
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
        """Sends all pairs of partition and record, and returns when all are acknowledged, however long that takes."""
        parcels = [(partition, json.dumps(record, separators=(",", ":"))) for partition, record in batch]
        while parcels:
            for partition, payload in parcels:
                self._enqueue(partition, payload)
            # What is left after a flush waits for a broker that is away, or for a gate that is closed.
            while self.producer.flush(FLUSH_SECONDS) > 0:
                pass
            parcels, self.returned = self.returned, []
            if self.fatal:
                self._replace_producer()

    def _enqueue(self, partition, payload):
        while True:
            try:
                self.producer.produce(self.topic, payload, partition=partition, on_delivery=self._on_delivery)
                return
            except BufferError:
                self.producer.poll(FLUSH_SECONDS)
            except KafkaException as error:
                if not error.args[0].fatal() and error.args[0].name() != "_FATAL":
                    raise
                # Returned by a producer that is fatally wrong; a new one sends it again.
                self.fatal = True
                self.returned.append((partition, payload))
                return

    def _on_delivery(self, error, message):
        if error is not None:
            print(f"bank-b: a transfer came back and is sent again: {error}", file=sys.stderr)
            self.returned.append((message.partition(), message.value().decode()))

    def _on_error(self, error):
        if error.fatal():
            self.fatal = True

    def _replace_producer(self):
        print("bank-b: the producer is fatally wrong, a new one takes its place", file=sys.stderr)
        time.sleep(REPLACE_SECONDS)
        self.fatal = False
        self.producer = Producer(self.config)
