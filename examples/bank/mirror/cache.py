"""Group B of the mirror: keeps what both topics come to in Redis."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python"))

from in_redis import InRedis
from reader import serve

if __name__ == "__main__":
    serve("cache.py", "cache", "redis://HOST:PORT/DB?prefix=PREFIX", InRedis)
