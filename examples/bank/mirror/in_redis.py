"""The state of group B: hashes in Redis, written in one MULTI a batch.

Nothing is cached: what Redis says is the state, so that whoever puts other keys there is believed. Every place has two keys, its prefix and
its balances, each beginning with the prefix that the address names.
"""

import json
from urllib.parse import parse_qs, urlsplit, urlunsplit

import redis

from prefix import new_prefix


class InRedis:
    """Prefixes and balances in a Redis."""

    def __init__(self, address):
        parts = urlsplit(address)
        self.prefix = parse_qs(parts.query)["prefix"][0]
        self.redis = redis.Redis.from_url(urlunsplit(parts._replace(query="")), decode_responses=True)

    def load(self, place):
        """The prefix of a place, and none of its balances: they are added to where they are."""
        fields = self.redis.hgetall(f"{self.prefix}prefix:{place}")
        return _prefix(fields) if fields else new_prefix()

    def save(self, prefixes, changes):
        """Writes prefixes, and adds changes of balances, both by place."""
        # Sums, not summands: what the client library writes a second time, because a connection was lost, is written once.
        sums = {place: self._added(place, amounts) for place, amounts in changes.items()}
        with self.redis.pipeline(transaction=True) as together:
            for place, prefix in prefixes.items():
                together.hset(f"{self.prefix}prefix:{place}", mapping={**prefix, "runs": json.dumps(prefix["runs"])})
            for place, amounts in sums.items():
                together.hset(f"{self.prefix}balances:{place}", mapping=amounts)
            together.execute()

    def everything(self):
        """All there is, while nobody writes: prefix and balances by place."""
        before = f"{self.prefix}prefix:"
        places = [key[len(before) :] for key in self.redis.scan_iter(match=f"{before}*", count=1_000)]
        return {place: {**self.load(place), "balances": self._balances(place)} for place in places}

    def spoil(self):
        """Sets what is there to nonsense."""
        for place in self.everything():
            self.redis.hset(f"{self.prefix}prefix:{place}", mapping={"sum": 13, "chain": "nonsense"})
            self.redis.delete(f"{self.prefix}balances:{place}")
        self.redis.set(f"{self.prefix}nonsense", 13)

    def _added(self, place, amounts):
        before = self.redis.hmget(f"{self.prefix}balances:{place}", list(amounts))
        return {account: int(held or 0) + amount for held, (account, amount) in zip(before, amounts.items())}

    def _balances(self, place):
        fields = self.redis.hgetall(f"{self.prefix}balances:{place}")
        return {int(account): int(amount) for account, amount in fields.items()}


def _prefix(fields):
    numbers = {name: int(fields[name]) for name in ("count", "sum", "duplicates")}
    return {**numbers, "chain": fields["chain"], "runs": json.loads(fields["runs"])}
