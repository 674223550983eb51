#!/usr/bin/env python3
"""Prints what a program is built from, as an SPDX 2.3 document: every crate with version, licence, checksum and package URL.

Usage: scripts/sbom.py PACKAGE      cutline-sidecar, cutline-admin or cutline-cli

It says what Cargo.lock says, without what only tests use, for Linux on x86-64. The same commit gives the same document.
"""

import datetime
import json
import pathlib
import subprocess
import sys
import tomllib
import uuid

ROOT = pathlib.Path(__file__).resolve().parent.parent
PLATFORM = "x86_64-unknown-linux-gnu"
NOT_SAID = "NOASSERTION"


def output(*command):
    """What a command prints."""
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def committed():
    """When the commit was made, in UTC."""
    seconds = int(output("git", "log", "-1", "--format=%ct"))
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def reached(start, metadata):
    """The ids of all that goes into `start`, and who depends on whom."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    found, pairs, left = set(), [], [start]
    while left:
        at = left.pop()
        if at in found:
            continue
        found.add(at)
        for dependency in nodes[at]["deps"]:
            if any(kind["kind"] != "dev" for kind in dependency["dep_kinds"]):
                pairs.append((at, dependency["pkg"]))
                left.append(dependency["pkg"])
    return found, pairs


def described(package, checksums):
    """One package in the words of SPDX."""
    name, version = package["name"], package["version"]
    words = {
        "SPDXID": reference(package),
        "name": name,
        "versionInfo": version,
        "downloadLocation": NOT_SAID,
        "filesAnalyzed": False,
        "licenseConcluded": NOT_SAID,
        "licenseDeclared": (package["license"] or NOT_SAID).replace("/", " OR "),
        "copyrightText": NOT_SAID,
        "externalRefs": [
            {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": f"pkg:cargo/{name}@{version}"}
        ],
    }
    if (name, version) in checksums:
        words["checksums"] = [{"algorithm": "SHA256", "checksumValue": checksums[name, version]}]
    return words


def reference(package):
    """Its id within the document."""
    plain = "".join(letter if letter.isalnum() else "-" for letter in f"{package['name']}-{package['version']}")
    return f"SPDXRef-{plain}"


def document(program):
    """The document of one program of the workspace."""
    metadata = json.loads(output("cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", PLATFORM))
    packages = {package["id"]: package for package in metadata["packages"]}
    own = [package for package in packages.values() if package["name"] == program and package["source"] is None]
    if not own:
        sys.exit(f"sbom: there is no package {program} in this workspace; try scripts/sbom.py cutline-sidecar")
    lock = (ROOT / "Cargo.lock").read_text()
    checksums = {(one["name"], one["version"]): one["checksum"] for one in tomllib.loads(lock)["package"] if "checksum" in one}
    found, pairs = reached(own[0]["id"], metadata)
    relationships = [("SPDXRef-DOCUMENT", "DESCRIBES", reference(own[0]))]
    relationships += [(reference(packages[one]), "DEPENDS_ON", reference(packages[other])) for one, other in pairs]
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"{program}-{own[0]['version']}",
        "documentNamespace": uuid.uuid5(uuid.NAMESPACE_OID, program + lock).urn,
        "creationInfo": {
            "created": committed(),
            "creators": ["Tool: cutline-scripts-sbom"],
        },
        "packages": sorted((described(packages[one], checksums) for one in found), key=lambda one: one["SPDXID"]),
        "relationships": [
            {"spdxElementId": one, "relationshipType": word, "relatedSpdxElement": other} for one, word, other in sorted(set(relationships))
        ],
    }


def main():
    """Prints the document."""
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    json.dump(document(sys.argv[1]), sys.stdout, indent=1, ensure_ascii=False)
    print()


if __name__ == "__main__":
    main()
