#!/usr/bin/env python3
"""Packs model folders with their expected outputs into an archive of this folder.

    python3 pack.py families|folders|long|experimental|gliner SOURCE

SOURCE holds one folder for each model. The same files give the same archive, byte for byte: names are sorted, and
owners, modes and times are fixed. Of `folders`, those that lie in the tree already are left out, and a file that
`families.tar.xz` holds too is named in the folder's `from.json` instead, as the folders of the tree name theirs.
"""

import argparse
import hashlib
import io
import json
import lzma
import tarfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Models of one maker repeat each other's weights, far apart: the window must span the whole archive. Weights are
# words of four bytes, which the position bits say.
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 32 << 20, "lc": 1, "lp": 2, "pb": 2}]


def digest(data):
    return hashlib.sha256(data).digest()


def files_below(folder):
    """Every file's bytes by its path relative to the folder."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def shared_weights():
    """Where the weights of `families.tar.xz` lie, by their digest; the first name of several."""
    found = {}
    with tarfile.open(HERE / "families.tar.xz") as archive:
        for member in archive:
            if member.name.endswith(".safetensors"):
                found.setdefault(digest(archive.extractfile(member).read()), member.name)
    return found


def linked(files, shared):
    """The files without those that others have, which `from.json` names instead."""
    links = {name: shared[digest(data)] for name, data in files.items() if digest(data) in shared}
    own = {name: data for name, data in files.items() if name not in links}
    return {**own, "from.json": (json.dumps(links, indent=2) + "\n").encode()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=("families", "folders", "long", "experimental", "gliner"))
    parser.add_argument("source", type=Path)
    options = parser.parse_args()
    folders = sorted(p for p in options.source.iterdir() if p.is_dir())
    if options.name == "folders":
        folders = [p for p in folders if not (HERE / "folders" / p.name).is_dir()]
        shared = shared_weights()
    if not folders:
        parser.error(f"{options.source} holds no folder to pack")

    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for folder in folders:
            files = files_below(folder)
            if options.name == "folders":
                files = linked(files, shared)
            for name, data in sorted(files.items()):
                member = tarfile.TarInfo(f"{options.name}/{folder.name}/{name}")
                member.size, member.mode = len(data), 0o644
                archive.addfile(member, io.BytesIO(data))
    packed = lzma.compress(plain.getvalue(), format=lzma.FORMAT_XZ, check=lzma.CHECK_CRC64, filters=FILTERS)
    to = HERE / f"{options.name}.tar.xz"
    to.write_bytes(packed)
    print(f"{to.name}: {len(folders)} folders, {len(plain.getvalue())} bytes in {len(packed)}")


if __name__ == "__main__":
    main()
