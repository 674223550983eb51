"""The promises of the mirror's prefixes and of their auditor."""

import json
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "python")]

from count import differences, missing
from load import record
from prefix import enter, new_prefix


def read(numbers):
    """What a partition comes to when these records are read in this order."""
    prefix, balances = new_prefix(), {}
    for seq in numbers:
        enter(prefix, balances, "deposits", json.dumps(record("deposits-0", seq)).encode())
    return {"deposits-0": {**prefix, "balances": balances}}


class Prefixes(unittest.TestCase):
    def test_the_same_records_in_the_same_order_are_the_same_prefix(self):
        self.assertEqual(differences(read(range(50)), read(range(50))), 0)

    def test_a_missing_a_doubled_or_a_moved_record_is_a_difference(self):
        for numbers in ([0, 1, 3], [0, 1, 2], [0, 1, 2, 2], [0, 2, 1, 3], []):
            self.assertEqual(differences(read(range(4)), read(numbers)), 1, numbers)

    def test_what_was_sent_and_not_entered_is_missing(self):
        self.assertEqual(missing({"deposits-0": 6, "deposits-1": 2}, read([0, 1, 2, 5])), 4)

    def test_a_record_entered_again_is_a_duplicate(self):
        self.assertEqual(read([0, 1, 1])["deposits-0"]["duplicates"], 1)


if __name__ == "__main__":
    unittest.main()
