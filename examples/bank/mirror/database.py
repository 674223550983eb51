"""Group A of the mirror: keeps what both topics come to in PostgreSQL."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python"))

from in_postgres import InPostgres
from reader import serve

if __name__ == "__main__":
    serve("database.py", "database", "postgres://USER:PASSWORD@HOST:PORT/DATABASE", InPostgres)
