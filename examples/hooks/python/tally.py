"""Counts the records of each key of a topic, in memory. What Cutline asks of it is the hook: the second half.

BOOTSTRAP, TOPIC and GROUP say what to read, HOOK_PORT where the hook and the counts are, LEASE_SECONDS how long a pause lasts at most.
One instance: where there are several, keep what is counted by partition, or in a database they share.
"""

import json
import os
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from confluent_kafka import Consumer

tally, positions = Counter(), {}


def work(pause):
    """Reads for ever. Offsets are committed by the client when it likes: with a hook nothing hangs on that."""
    consumer = Consumer({"bootstrap.servers": os.environ["BOOTSTRAP"], "group.id": os.environ["GROUP"], "auto.offset.reset": "earliest"})
    consumer.subscribe([os.environ["TOPIC"]], on_revoke=lambda _, places: positions.clear())
    while True:
        message = consumer.poll(1.0)
        if message is None or message.error():
            continue
        with pause.permit:
            tally[message.key().decode()] += 1
            positions[f"{message.topic()}-{message.partition()}"] = message.offset() + 1


class Pause:
    """One permit: the loop has it while it works on a record, the hook from pause to resume, or until its lease is over."""

    def __init__(self, lease_seconds):
        self.permit, self.lease_seconds = threading.Lock(), lease_seconds
        self.ending, self.lease = threading.Lock(), None

    def begin(self):
        self.end()
        self.permit.acquire()
        self.lease = threading.Timer(self.lease_seconds, self.end)
        self.lease.start()

    def end(self):
        with self.ending:
            lease, self.lease = self.lease, None
            if lease is not None:
                lease.cancel()
                self.permit.release()
            return lease is not None


class Hook(BaseHTTPRequestHandler):
    pause = Pause(float(os.environ.get("LEASE_SECONDS", "30")))

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/cutline/pause":  # waits for the record at work; from here on nothing moves
            self.pause.begin()
            self.answer(json.dumps({"positions": positions}))
        elif self.path == "/cutline/resume":
            self.answer(json.dumps({"lease_held": self.pause.end()}))
        elif self.path == "/cutline/restore":  # called while the application is cut off from Kafka
            counts = {key: int(count) for key, count in (line.rsplit(" ", 1) for line in body.decode().splitlines())}
            tally.clear(), positions.clear(), tally.update(counts)
            self.answer("")

    def do_GET(self):  # /cutline/snapshot, and / for whoever wants to see it
        self.answer("".join(f"{key} {count}\n" for key, count in sorted(tally.items())))

    def answer(self, text):
        content = text.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


threading.Thread(target=ThreadingHTTPServer(("127.0.0.1", int(os.environ["HOOK_PORT"])), Hook).serve_forever, daemon=True).start()
work(Hook.pause)
