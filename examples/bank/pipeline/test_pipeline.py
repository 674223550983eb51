"""The promises of the pipeline's books and of their auditor."""

import os
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "python")]

import count
from book import Book


class Books(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        self.books = {service: Book(os.path.join(self.directory, service)) for service in count.SERVICES}

    def flow(self, numbers, without=()):
        """Has requests of one account go through all services but those named."""
        for seq in numbers:
            with self.books["orders"].page() as page:
                page.receive("requests-0", "load", seq)
                page.add(1, 10)
                sent = {kind: page.next_seq("requests-0", f"{kind}-1") for kind in ("orders", "charges")}
            if "payments" not in without:
                with self.books["payments"].page() as page:
                    page.receive("charges-1", "requests-0", sent["charges"])
                    sent["payments"] = page.next_seq("charges-1", "payments-1")
            if "settlement" not in without:
                with self.books["settlement"].page() as page:
                    page.receive("orders-1", "requests-0", sent["orders"])
                    page.receive("payments-1", "charges-1", sent["payments"])
                    self.assertFalse(page.meet(f"0:{seq}", "payments", "orders"))
                    self.assertTrue(page.meet(f"0:{seq}", "orders", "payments"))
                    page.receive("joined", "0", seq)
                    page.add(1, 10)

    def counted(self, settled=True, sent=None):
        return count.count({service: count.read(self.directory, service) for service in count.SERVICES}, sent, settled)

    def test_what_went_through_everything_once_is_right(self):
        self.flow(range(5))
        counted = self.counted(sent={"requests-0": 5})
        self.assertEqual(counted["joins"], 5)
        self.assertEqual(sum(counted[name] for name in ("skewed", "duplicate_joins", "diverging", "open_halves", "received_twice")), 0)

    def test_a_request_that_was_never_taken_is_missing(self):
        self.flow(range(5))
        self.assertEqual(self.counted(sent={"requests-0": 7})["skewed"], 2)

    def test_a_downstream_book_that_is_ahead_is_skewed_at_once(self):
        self.flow(range(5))
        with self.books["orders"].page() as page:
            page.connection.execute("UPDATE sent SET next = 3 WHERE place = 'orders-1'")
        self.assertEqual(self.counted(settled=False)["skewed"], 2)

    def test_what_never_arrived_is_skewed_and_diverges_when_all_is_settled(self):
        self.flow(range(5))
        self.flow(range(5, 7), without={"payments", "settlement"})
        self.assertEqual(self.counted(settled=False)["skewed"], 0)
        counted = self.counted()
        self.assertEqual((counted["skewed"], counted["diverging"]), (4, 1))

    def test_an_order_that_is_joined_again_is_a_duplicate(self):
        self.flow([0, 1, 1])
        self.assertEqual(self.counted()["duplicate_joins"], 1)

    def test_a_page_that_is_not_finished_changes_nothing(self):
        self.flow([0])
        with self.assertRaises(ValueError):
            with self.books["orders"].page() as page:
                page.add(1, 99)
                raise ValueError
        self.assertEqual(self.counted()["diverging"], 0)


if __name__ == "__main__":
    unittest.main()
