"""What every driver in Python does alike: reads one command a line, answers one line of JSON each.

A driver gives an object with a method for each command. What a method raises is answered as `failed`, so that a client's
surprise is told and never a hang.
"""

import base64
import faulthandler
import json
import os
import sys
import threading
import time
import traceback

# How long one command may wait for the cluster before the driver gives up and says so.
PATIENCE_S = 60


def to_text(value):
    """Bytes as JSON carries them; nothing stays nothing."""
    return None if value is None else base64.b64encode(bytes(value)).decode()


def to_bytes(text):
    """The other way."""
    return None if text is None else base64.b64decode(text)


def record(partition, offset, key, value, headers, timestamp):
    """A record as it is answered."""
    headers = [[name, to_text(content)] for name, content in headers or []]
    return {"p": partition, "o": offset, "k": to_text(key), "v": to_text(value), "h": headers, "t": timestamp}


def headers_of(told):
    """A told record's headers as the client libraries take them."""
    return [(name, to_bytes(content)) for name, content in told["h"]]


def name_of(error):
    """What an error is called."""
    return type(error).__name__


class Deadline:
    """A loop's patience."""

    def __init__(self, what, seconds=PATIENCE_S):
        self.what, self.end = what, time.monotonic() + seconds

    def check(self, seen=()):
        """Raises when the time is over, and says how far it came."""
        if time.monotonic() > self.end:
            # Where every thread stands tells a client that is stuck from one that is given nothing.
            faulthandler.dump_traceback(all_threads=True)
            last = sorted({each["p"]: each["o"] for each in seen}.items())
            raise TimeoutError(f"in vain: {self.what}, {len(seen)} seen, up to {last}")


class Background:
    """A relay at work beside the command loop: made anew after every error, as a supervisor would."""

    def __init__(self, turn):
        self.done, self.errors = 0, []
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, args=(turn,), daemon=True)
        self.thread.start()

    def _run(self, turn):
        while not self.stopping.is_set():
            try:
                turn(self)
            except Exception as error:  # whatever a client raises is what is to be told
                traceback.print_exc()
                self.errors.append(name_of(error))
                self.stopping.wait(0.5)

    def end(self):
        """Stops it: how many records it did and which errors it met."""
        self.stopping.set()
        self.thread.join(PATIENCE_S)
        return {"done": self.done, "errors": sorted(set(self.errors))}


def serve(driver):
    """Answers commands until stdin ends."""
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = {"ok": getattr(driver, command.pop("do"))(**command)}
        except Exception as error:
            traceback.print_exc()
            answer = {"failed": f"{name_of(error)}: {error}"}
        print(json.dumps(answer), flush=True)
    # Threads of clients that hang must not keep a driver alive that nobody talks to any more.
    os._exit(0)
