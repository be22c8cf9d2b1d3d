"""Container images made from files of this machine, without a registry and without a build tool.

An archive in the OCI layout is a tar file with three JSON documents and one layer; containerd imports it as it is.
The test node needs one before it can start its first pod; tests make their own.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def write_image(archive: Path, name: str, files: Mapping[str, Path], entrypoint: Sequence[str]) -> Path:
    """Write an image called `name` (`everforge.local/sandbox:1`) whose root holds `files`, path inside to path here."""
    layer = layer_of(files)
    blobs = {}

    def blob(content: bytes, media_type: str) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = content
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": [*entrypoint]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": blob(encoded(config), CONFIG),
        "layers": [blob(layer, LAYER)],
    }
    entry = blob(encoded(manifest), MANIFEST) | {"annotations": {"io.containerd.image.name": name}}
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}
    with tarfile.open(archive, "w") as tar:
        for path, content in {
            "oci-layout": encoded({"imageLayoutVersion": "1.0.0"}),
            "index.json": encoded(index),
            **blobs,
        }.items():
            add(tar, path, content, mode=0o644)
    return archive


def layer_of(files: Mapping[str, Path]) -> bytes:
    """A layer with these files, readable and executable for every user."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, source in files.items():
            add(tar, path.lstrip("/"), source.read_bytes(), mode=0o755)
    return buffer.getvalue()


def add(tar: tarfile.TarFile, path: str, content: bytes, mode: int) -> None:
    """One file, the same bytes whenever and wherever the archive is made."""
    member = tarfile.TarInfo(path)
    member.size, member.mode = len(content), mode
    tar.addfile(member, io.BytesIO(content))


def encoded(document: object) -> bytes:
    """A JSON document as bytes."""
    return json.dumps(document, sort_keys=True).encode()
