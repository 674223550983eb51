"""One stage of a flow of records: take a batch, have it worked on, see its outputs acknowledged, commit, in that order.

`work` is given a batch and writes the state; it gives the records that follow from it, which are acknowledged before anything is committed.
"""

import signal

from batches import Batches
from outbox import Outbox


def run(options, group, topics, work):
    """Serves until SIGTERM or SIGINT, and then ends after the batch at work."""
    stopping = []
    for wish in (signal.SIGTERM, signal.SIGINT):
        signal.signal(wish, lambda *_: stopping.append(True))
    outbox = Outbox(options.bootstrap)
    batches = Batches(options, f"{options.prefix}{group}", [f"{options.prefix}{topic}" for topic in topics])
    while not stopping:
        batch = batches.take()
        if batch:
            outbox.send_all(work(batch))
            batches.commit()
    batches.close()
