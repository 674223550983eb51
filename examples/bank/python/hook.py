"""The hook: pause, snapshot, resume and restore over HTTP, for whoever takes a consistent cut of this service.

A pause waits for the batch at work, then the instance stands still until it is resumed, or until its lease ends by itself: a bank does not
stand still because someone else forgot it. The hook knows nothing of what is in the state.
"""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# How long the answer to a pause may wait for the batch at work.
PAUSE_SECONDS_MAX = 10.0


class Pause:
    """Whether the service stands still; shared by the hook's threads and the service's loop."""

    def __init__(self, lease_seconds):
        self.lease_seconds = lease_seconds
        self.changed = threading.Condition()
        self.until = None
        self.positions = None

    def begin(self):
        """Asks the loop to stand still; gives its positions once it does, None when it did not in time."""
        with self.changed:
            self.until = time.monotonic() + self.lease_seconds
            self.positions = None
            self.changed.wait_for(lambda: self.positions is not None or self.until is None, PAUSE_SECONDS_MAX)
            if self.positions is None:
                self.until = None
                self.changed.notify_all()
            return self.positions

    def end(self):
        """Lets the loop go on; tells whether it had stood still until now."""
        with self.changed:
            held = self.until is not None and self.positions is not None and time.monotonic() < self.until
            self.until = None
            self.positions = None
            self.changed.notify_all()
            return held

    def stands_still(self):
        """Whether the lease of a pause holds at this moment."""
        with self.changed:
            return self.until is not None and self.positions is not None and time.monotonic() < self.until

    def is_asked_for(self):
        """Whether the loop should stand still."""
        return self.until is not None

    def stand_still(self, positions):
        """Called by the loop between two batches: tells the positions, and returns when the pause or its lease is over."""
        with self.changed:
            self.positions = positions
            self.changed.notify_all()
            while self.until is not None:
                left = self.until - time.monotonic()
                if left <= 0:
                    print("bank-b: nobody resumed within the lease, going on", file=sys.stderr)
                    self.until = None
                    self.positions = None
                    return
                self.changed.wait(left)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    pause = None
    ledger = None

    def do_POST(self):  # the name is the base class's
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/cutline/pause":
            positions = self.pause.begin()
            if positions is None:
                self._answer(503, {"error": "the batch at work did not end in time"})
            else:
                self._answer(200, {"positions": positions})
        elif self.path == "/cutline/resume":
            self._answer(200, {"lease_held": self.pause.end()})
        elif self.path == "/cutline/restore":
            self._restore(body)
        else:
            self._answer(404, {"error": "no such hook"})

    def do_GET(self):  # the name is the base class's
        if self.path != "/cutline/snapshot":
            self._answer(404, {"error": "no such hook"})
        elif not self.pause.stands_still():
            self._answer(409, {"error": "not paused: the state moves"})
        else:
            self._send(200, "application/octet-stream", self.ledger.snapshot())

    def _restore(self, body):
        try:
            self.ledger.restore(body)
        except (ValueError, OSError) as error:
            self._answer(400, {"error": str(error)})
        else:
            self._answer(200, {"restored_bytes": len(body)})

    def _answer(self, status, content):
        self._send(status, "application/json", json.dumps(content).encode())

    def _send(self, status, content_type, content):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format, *args):  # the name is the base class's
        print(f"bank-b: hook: {format % args}", file=sys.stderr)


def serve(port, pause, ledger):
    """Serves the hook on 127.0.0.1 in threads of its own."""
    handler = type("Handler", (_Handler,), {"pause": pause, "ledger": ledger})
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="hook", daemon=True).start()
    return server
