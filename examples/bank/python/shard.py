"""The state that belongs to one input partition: balances, what it sent, what it received.

The twin of shard.rs and runs.rs of bank A: the same state in the same words, so that one auditor reads both. A record is applied whether
or not it came before; there is no deduplication, only a count of what a wrong cut does.
"""

from bisect import bisect_left

ACCOUNTS = 64
BALANCE_INITIAL = 1_000
# Three transfers of four go on, as long as they may.
STAYS_ONE_IN = 4
_WORD = (1 << 64) - 1


def new_shard(name):
    """A shard to which nothing happened yet."""
    return {"shard": name, "balances": [BALANCE_INITIAL] * ACCOUNTS, "sent": {}, "received": {}, "records": 0}


def insert(entry, seq):
    """Adds a number to a set kept as runs; one that is there already counts as a duplicate."""
    runs = entry["runs"]
    # Nearly always the number that follows the last one.
    if runs and runs[-1][1] == seq:
        runs[-1][1] = seq + 1
        return
    # The first run that ends at or after the number: it holds it, touches it, or lies behind it.
    at = bisect_left(runs, seq, key=lambda run: run[1])
    if at == len(runs):
        runs.append([seq, seq + 1])
        return
    run = runs[at]
    if run[0] <= seq < run[1]:
        entry["duplicates"] += 1
    elif run[1] == seq:
        run[1] = seq + 1
        if at + 1 < len(runs) and runs[at + 1][0] == run[1]:
            run[1] = runs.pop(at + 1)[1]
    elif run[0] == seq + 1:
        run[0] = seq
    else:
        runs.insert(at, [seq, seq + 1])


def apply(shard, is_order, record, term, route):
    """Applies a record; gives the partition and the transfer it causes, or None."""
    shard["records"] += 1
    terms = shard["received"].setdefault(record["from"], {})
    insert(terms.setdefault(record["term"], {"runs": [], "duplicates": 0}), record["seq"])
    account = record["account"] % len(shard["balances"])
    mixed = _mixed(record, shard["records"])
    hops = record["hops"]
    if not is_order:
        shard["balances"][account] += record["amount"]
        if hops == 0 or mixed % STAYS_ONE_IN == 0:
            return None
        hops -= 1
    shard["balances"][account] -= record["amount"]
    partition = mixed // 4 % route["partitions"]
    seq = _next_seq(shard, f"{route['topic']}-{partition}", term)
    transfer = {
        "from": shard["shard"],
        "term": term,
        "seq": seq,
        "account": mixed // 64 % ACCOUNTS,
        "amount": record["amount"],
        "hops": hops,
    }
    return partition, transfer


def _next_seq(shard, target, term):
    runs = shard["sent"].setdefault(target, [])
    seq = runs[-1]["to"] if runs else 0
    if runs and runs[-1]["term"] == term:
        runs[-1]["to"] += 1
    else:
        runs.append({"term": term, "from": seq, "to": seq + 1})
    return seq


def _mixed(record, records):
    """A number that depends on the record and on the state it meets, well spread (the multiplier is from splitmix64)."""
    seed = record["seq"] ^ (records << 32) ^ (record["account"] << 48)
    mixed = ((seed + 0x9E3779B97F4A7C15) * 0xBF58476D1CE4E5B9) & _WORD
    return mixed ^ (mixed >> 29)
