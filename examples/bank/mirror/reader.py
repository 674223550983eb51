"""What both groups do with what they read: enter it into the prefixes of its partitions, wherever these are kept."""

import argparse

from batches import add_arguments
from prefix import enter
from stage import run

TOPICS = ["deposits", "withdrawals"]


def serve(program, group, state, keep):
    """Serves as a group whose state is kept by what `keep` makes of its address."""
    parser = argparse.ArgumentParser(prog=program, description=f"The group {group} of the mirror")
    add_arguments(parser, state)
    options = parser.parse_args()
    kept = keep(options.state)

    def work(batch):
        prefixes, changes = {}, {}
        for message in batch:
            place = f"{message.topic()}-{message.partition()}"
            if place not in prefixes:
                prefixes[place] = kept.load(place)
            enter(prefixes[place], changes.setdefault(place, {}), message.topic(), message.value())
        kept.save(prefixes, changes)
        return []

    run(options, group, TOPICS, work)
