"""Container images made from files of this machine, without a registry and without a build tool.

An archive in the OCI layout is a tar file of JSON documents and layers; containerd imports it as it is, from a file or
from a pipe. Layers lie in files, never in memory, and one that several images share is written and sent once.
The test node needs an image before it can start its first pod; tests make their own, and `product_images.py` those of
the product.
"""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CHUNK_BYTES = 1 << 20

# What lies where in a layer: the path inside, and a file of this machine, or the text of a symbolic link.
Content = Path | str


@dataclass(frozen=True)
class Layer:
    """A layer in a file."""

    path: Path
    digest: str
    size: int


@dataclass(frozen=True)
class Image:
    """A name, layers from the lowest to the highest, and how a container starts (`Entrypoint`, `Env`, `User`, …)."""

    name: str
    layers: Sequence[Layer]
    config: Mapping[str, Any] = field(default_factory=dict)


class _Hashed(io.RawIOBase):
    """Writes to a file, and knows what the whole hashes to."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.hash, self.size = file, hashlib.sha256(), 0

    def write(self, data: Any) -> int:
        self.hash.update(data)
        self.size += len(data)
        return self.file.write(data)


def write_image(archive: Path, name: str, files: Mapping[str, Path], entrypoint: Sequence[str]) -> Path:
    """Write an image called `name` (`everforge.local/sandbox:1`) whose root holds `files`, path inside to path here."""
    layer = write_layer(archive.with_suffix(".layer"), files.items())
    with archive.open("wb") as file:
        write_archive(file, [Image(name, [layer], {"Entrypoint": [*entrypoint]})])
    layer.path.unlink()
    return archive


def write_layer(path: Path, contents: Iterable[tuple[str, Content]]) -> Layer:
    """Write a layer to `path`; its files are everybody's to read, and executable where they are so here."""
    with path.open("wb") as file:
        hashed = _Hashed(file)
        with tarfile.open(fileobj=hashed, mode="w|", bufsize=CHUNK_BYTES) as tar:
            for inside, content in contents:
                _add(tar, inside.lstrip("/"), content)
    return Layer(path, f"sha256:{hashed.hash.hexdigest()}", hashed.size)


def write_archive(stream: IO[bytes], images: Sequence[Image]) -> None:
    """Write images as one OCI archive, to a file or to `ctr images import -`."""
    documents: dict[str, bytes] = {}

    def document(content: object, media_type: str) -> dict[str, Any]:
        text = encoded(content)
        digest = f"sha256:{hashlib.sha256(text).hexdigest()}"
        documents[digest] = text
        return {"mediaType": media_type, "digest": digest, "size": len(text)}

    entries = []
    for image in images:
        layers = [{"mediaType": LAYER, "digest": layer.digest, "size": layer.size} for layer in image.layers]
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": document(_config(image), CONFIG)}
        entry = document({**manifest, "layers": layers}, MANIFEST)
        entries.append(entry | {"annotations": {"io.containerd.image.name": image.name}})
    with tarfile.open(fileobj=stream, mode="w|", bufsize=CHUNK_BYTES) as tar:
        _add_text(tar, "oci-layout", encoded({"imageLayoutVersion": "1.0.0"}))
        _add_text(tar, "index.json", encoded({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}))
        for digest, text in documents.items():
            _add_text(tar, _blob(digest), text)
        for layer in {layer.digest: layer for image in images for layer in image.layers}.values():
            _add(tar, _blob(layer.digest), layer.path)


def _config(image: Image) -> dict[str, Any]:
    return {
        "architecture": "amd64",
        "os": "linux",
        "config": dict(image.config),
        "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in image.layers]},
    }


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _add(tar: tarfile.TarFile, path: str, content: Content) -> None:
    """One file or link, the same bytes whenever and by whomever the archive is made."""
    member = tarfile.TarInfo(path)
    if isinstance(content, str):
        member.type, member.linkname = tarfile.SYMTYPE, content
        tar.addfile(member)
        return
    with content.open("rb") as file:
        seen = os.fstat(file.fileno())
        member.size, member.mode = seen.st_size, 0o755 if seen.st_mode & 0o100 else 0o644
        # Bytecode is good for a source of one time and size.
        member.mtime = int(seen.st_mtime)
        tar.addfile(member, file)


def _add_text(tar: tarfile.TarFile, path: str, text: bytes) -> None:
    member = tarfile.TarInfo(path)
    member.size, member.mode = len(text), 0o644
    tar.addfile(member, io.BytesIO(text))


def encoded(document: object) -> bytes:
    """A JSON document as bytes."""
    return json.dumps(document, sort_keys=True).encode()
