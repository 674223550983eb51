"""Makes one tar of the images that pods run, as `docker save` would: a common Debian, and on it the programs.

Usage: images.py DEBIAN.TAR PROGRAMS SITE BANK-B OUT.TAR
       PROGRAMS is the directory of the built programs, SITE the packages of bank B, BANK-B the directory of its sources
It takes programs as they are, and promises no more than that they find what they are linked to.
"""

import hashlib
import io
import json
import pathlib
import subprocess
import sys
import tarfile
import tempfile

TAG = "0.1.0"
USER = "65532:65532"
# An image, and what it runs. The last is what containerd starts first in each pod.
IMAGES = {
    f"cutline-admin:{TAG}": ["cutline-admin"],
    f"cutline-sidecar:{TAG}": ["cutline-sidecar"],
    f"cutline-bank-a:{TAG}": ["bank-a"],
    f"cutline-bank-b:{TAG}": ["python3", "/app/bank_b.py"],
    "pause:cutline": ["sleep", "infinity"],
}
PROGRAMS = ["cutline-admin", "cutline-sidecar", "cutline", "bank-a"]


def programs_layer(path, programs, site, bank_b):
    """Writes the layer over the Debian."""
    with tarfile.open(path, "w") as layer, tempfile.TemporaryDirectory() as stripped:
        for name in PROGRAMS:
            # As the Dockerfile does: what debuggers want is most of a program.
            subprocess.run(["strip", "--strip-debug", "-o", f"{stripped}/{name}", programs / name], check=True)
            layer.add(f"{stripped}/{name}", f"usr/local/bin/{name}", filter=of_root)
        for source in sorted(bank_b.glob("*.py")):
            layer.add(source, f"app/{source.name}", filter=of_root)
        layer.add(site, "app/site", filter=of_root)


def of_root(member):
    """Files belong to root and can be read by everyone."""
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mode |= 0o444 | (0o111 if member.isdir() else 0)
    return member


def digest(path):
    """SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def image(entrypoint, layers):
    """The configuration of one image."""
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    environment = [f"PATH={path}", "PYTHONPATH=/app/site", "PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1"]
    return {
        "architecture": "amd64",
        "os": "linux",
        "config": {"User": USER, "Env": environment, "Entrypoint": entrypoint},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer}" for layer in layers]},
    }


def add_json(archive, name, value):
    """Adds a file with a value to a tar."""
    data = json.dumps(value).encode()
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def main(debian, programs, site, bank_b, out):
    own = out.with_suffix(".layer")
    programs_layer(own, programs, site, bank_b)
    layers = {digest(path): path for path in (debian, own)}
    manifest = []
    with tarfile.open(out, "w") as archive:
        for name, path in layers.items():
            archive.add(path, f"{name}.tar")
        for number, (tag, entrypoint) in enumerate(IMAGES.items()):
            add_json(archive, f"{number}.json", image(entrypoint, layers))
            manifest.append({
                "Config": f"{number}.json",
                "RepoTags": [f"docker.io/library/{tag}"],
                "Layers": [f"{name}.tar" for name in layers],
            })
        add_json(archive, "manifest.json", manifest)
    own.unlink()


if __name__ == "__main__":
    main(*map(pathlib.Path, sys.argv[1:]))
