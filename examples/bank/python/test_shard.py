"""The promises of bank B's state."""

import tempfile
import unittest

from ledger import Ledger
from shard import ACCOUNTS, BALANCE_INITIAL, apply, insert, new_shard

ROUTE = {"topic": "transfers-a", "partitions": 3}


def record(seq, hops):
    return {"from": "load", "term": "t", "seq": seq, "account": 5, "amount": 7, "hops": hops}


def runs_of(numbers):
    entry = {"runs": [], "duplicates": 0}
    for seq in numbers:
        insert(entry, seq)
    return entry


class Runs(unittest.TestCase):
    def test_numbers_in_order_are_one_run(self):
        self.assertEqual(runs_of([0, 1, 2, 3]), {"runs": [[0, 4]], "duplicates": 0})

    def test_a_gap_that_is_filled_joins_its_neighbours(self):
        self.assertEqual(runs_of([5, 3, 4, 9, 0]), {"runs": [[0, 1], [3, 6], [9, 10]], "duplicates": 0})

    def test_every_repeat_is_counted(self):
        self.assertEqual(runs_of([7, 8, 7, 7, 8]), {"runs": [[7, 9]], "duplicates": 3})

    def test_any_order_gives_the_same_runs(self):
        self.assertEqual(runs_of(range(200)), runs_of(n * 77 % 200 for n in range(200)))


class Shards(unittest.TestCase):
    def test_money_on_shards_and_on_the_way_is_conserved(self):
        shard = new_shard("transfers-b-0")
        caused = [apply(shard, False, record(seq, 3), "x", ROUTE) for seq in range(1_000)]
        passed = sum(transfer["amount"] for _, transfer in filter(None, caused))
        self.assertTrue(0 < passed < 7_000)
        self.assertEqual(sum(shard["balances"]) + passed, BALANCE_INITIAL * ACCOUNTS + 7_000)

    def test_an_order_always_sends(self):
        shard = new_shard("orders-b-0")
        self.assertTrue(all(apply(shard, True, record(seq, 0), "x", ROUTE) for seq in range(100)))

    def test_a_sequence_goes_on_in_a_new_term(self):
        shard = new_shard("orders-b-0")
        for seq, term in enumerate("xxyy"):
            apply(shard, True, record(seq, 0), term, {"topic": "t", "partitions": 1})
        expected = [{"term": "x", "from": 0, "to": 2}, {"term": "y", "from": 2, "to": 4}]
        self.assertEqual(shard["sent"], {"t-0": expected})


class Ledgers(unittest.TestCase):
    def test_a_restore_brings_back_exactly_what_was_there(self):
        with tempfile.TemporaryDirectory() as directory:
            ledger = Ledger(directory)
            before = new_shard("orders-b-0")
            ledger.save([before])
            snapshot = ledger.snapshot()
            ledger.save([{**before, "records": 9}, new_shard("orders-b-1")])
            ledger.restore(snapshot)
            self.assertEqual(ledger.load("orders-b-0"), before)
            self.assertEqual(ledger.snapshot(), snapshot)

    def test_a_snapshot_that_is_none_is_refused(self):
        with tempfile.TemporaryDirectory() as directory:
            for nonsense in (b"[]", b"{", b'{"../x.json": "{}"}'):
                with self.assertRaises(ValueError):
                    Ledger(directory).restore(nonsense)


if __name__ == "__main__":
    unittest.main()
