"""The directory in which a service keeps its shards, one file each.

A file is replaced by an atomic rename and is on disk when `save` returns. Nothing is cached: what the directory says is the state, so that
whoever puts other files there is believed. Several instances may share it, each writing the shards assigned to it.
"""

import json
import os

from shard import new_shard


class Ledger:
    """A service's directory of shards."""

    def __init__(self, directory):
        self.directory = directory
        os.makedirs(directory, exist_ok=True)

    def load(self, name):
        """A shard as its file has it, or a new one where there is no file."""
        try:
            with open(self._path(name), "rb") as file:
                return json.load(file)
        except FileNotFoundError:
            return new_shard(name)

    def save(self, shards):
        """Replaces the files of these shards."""
        renames = []
        for shard in shards:
            path = self._path(shard["shard"])
            temporary = path[: -len("json")] + "tmp"
            self._write(temporary, json.dumps(shard, separators=(",", ":")).encode())
            renames.append((temporary, path))
        for temporary, path in renames:
            os.replace(temporary, path)
        self._sync_directory()

    def snapshot(self):
        """All files of the directory, as bytes for `restore`."""
        files = {}
        for name in sorted(os.listdir(self.directory)):
            if name.endswith(".json"):
                with open(os.path.join(self.directory, name), encoding="utf-8") as file:
                    files[name] = file.read()
        return json.dumps(files).encode()

    def restore(self, snapshot):
        """Makes the directory what it was when the snapshot was taken."""
        files = json.loads(snapshot)
        if not isinstance(files, dict) or any(os.path.basename(name) != name for name in files):
            raise ValueError("a snapshot is an object of file names and contents")
        for name, text in files.items():
            temporary = os.path.join(self.directory, name + ".restoring")
            self._write(temporary, text.encode())
            os.replace(temporary, os.path.join(self.directory, name))
        for name in os.listdir(self.directory):
            if name not in files:
                os.remove(os.path.join(self.directory, name))
        self._sync_directory()

    def _path(self, name):
        return os.path.join(self.directory, f"{name}.json")

    @staticmethod
    def _write(path, content):
        with open(path, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def _sync_directory(self):
        handle = os.open(self.directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
