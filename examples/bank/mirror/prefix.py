"""What one partition comes to, read from its beginning: a number, a sum, balances, and a hash chain over the records.

Two places that hold the same prefix of a partition hold the same of these, and nothing else does: the chain tells any record that is
missing, doubled, changed or in another order. A record is entered whether or not it came before; that it came again is only counted.
"""

import hashlib
import json

from shard import insert


def new_prefix():
    """A partition of which nothing was read yet."""
    return {"count": 0, "sum": 0, "chain": "", "runs": [], "duplicates": 0}


def enter(prefix, balances, topic, payload):
    """Enters a record, as its bytes, into a prefix and into the balances by account; withdrawals are taken off."""
    record = json.loads(payload)
    amount = -record["amount"] if topic.endswith("withdrawals") else record["amount"]
    prefix["count"] += 1
    prefix["sum"] += amount
    prefix["chain"] = hashlib.sha256(prefix["chain"].encode() + payload).hexdigest()
    insert(prefix, record["seq"])
    balances[record["account"]] = balances.get(record["account"], 0) + amount
