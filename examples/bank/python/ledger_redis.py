"""A service's shards in Redis: for each a hash of balances and a JSON text of what it sent and received, under one prefix.

A batch is one transaction (MULTI): all of its shards are replaced or none. Nothing is cached: what Redis says is the state. A connection that
was lost is opened again: what was saved twice is saved once.
"""

import json
from urllib.parse import parse_qs, urlsplit

import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from shard import new_shard

RETRY_SECONDS = 0.2
RETRIES_MAX = 150


class RedisLedger:
    """The shards at redis://HOST:PORT/DB?prefix=PREFIX."""

    def __init__(self, address):
        place = urlsplit(address)
        self.prefix = parse_qs(place.query)["prefix"][0]
        self.client = redis.Redis(
            host=place.hostname,
            port=place.port or 6379,
            db=int(place.path.strip("/") or 0),
            username=place.username,
            password=place.password,
            decode_responses=True,
            retry=Retry(ConstantBackoff(RETRY_SECONDS), RETRIES_MAX),
            retry_on_error=[redis.ConnectionError, redis.TimeoutError],
        )

    def load(self, name):
        """A shard as Redis has it, or a new one."""
        reading = self.client.pipeline(transaction=True)
        reading.get(self._book(name))
        reading.hgetall(self._accounts(name))
        book, accounts = reading.execute()
        if book is None:
            return new_shard(name)
        shard = json.loads(book)
        shard["balances"] = [int(accounts[account]) for account in sorted(accounts, key=int)]
        return shard

    def save(self, shards):
        """Replaces these shards."""
        writing = self.client.pipeline(transaction=True)
        for shard in shards:
            book = {key: value for key, value in shard.items() if key != "balances"}
            writing.set(self._book(shard["shard"]), json.dumps(book, separators=(",", ":")))
            writing.hset(self._accounts(shard["shard"]), mapping=dict(enumerate(shard["balances"])))
        writing.execute()

    def snapshot(self):
        """All shards, as bytes for `restore`."""
        names = sorted(key[len(self.prefix) : -len(":book")] for key in self._keys() if key.endswith(":book"))
        return json.dumps([self.load(name) for name in names]).encode()

    def restore(self, snapshot):
        """Makes the shards what they were when the snapshot was taken."""
        shards = json.loads(snapshot)
        gone = self._keys()
        if gone:
            self.client.delete(*gone)
        self.save(shards)

    def _keys(self):
        return list(self.client.scan_iter(match=f"{self.prefix}*"))

    def _book(self, name):
        return f"{self.prefix}{name}:book"

    def _accounts(self, name):
        return f"{self.prefix}{name}:accounts"
