"""Images for the test node: layers are written once, whatever they hold, and said to be what they are."""

import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest
from hollow_library import write_hollow
from local_image import Image, write_archive, write_layer
from product_images import ROOT, recipe_of


def archive_of(*images: Image) -> dict[str, bytes]:
    stream = io.BytesIO()
    write_archive(stream, images)
    stream.seek(0)
    with tarfile.open(fileobj=stream) as tar:
        return {member.name: file.read() for member in tar if (file := tar.extractfile(member))}


def test_layer_has_files_with_their_time_and_links(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o700)
    layer = write_layer(tmp_path / "a.layer", [("/bin/run", script), ("bin/also", "run")])
    assert layer.digest == f"sha256:{hashlib.sha256(layer.path.read_bytes()).hexdigest()}"
    assert layer.size == layer.path.stat().st_size
    with tarfile.open(layer.path) as tar:
        run, also = tar.getmembers()
    assert (run.name, run.mode, run.mtime) == ("bin/run", 0o755, int(script.stat().st_mtime))
    assert (also.name, also.linkname, also.issym()) == ("bin/also", "run", True)


def test_layer_that_images_share_is_in_their_archive_once(tmp_path: Path) -> None:
    shared = write_layer(tmp_path / "shared.layer", [("file", Path(__file__))])
    own = write_layer(tmp_path / "own.layer", [("link", "file")])
    files = archive_of(Image("a:1", [shared]), Image("b:1", [shared, own], {"User": "65532"}))
    entries = json.loads(files["index.json"])["manifests"]
    assert [entry["annotations"]["io.containerd.image.name"] for entry in entries] == ["a:1", "b:1"]
    manifests = [json.loads(files[f"blobs/{entry['digest'].replace(':', '/')}"]) for entry in entries]
    assert [layer["digest"] for layer in manifests[1]["layers"]] == [shared.digest, own.digest]
    config = json.loads(files[f"blobs/{manifests[1]['config']['digest'].replace(':', '/')}"])
    assert config["config"] == {"User": "65532"}
    assert files[f"blobs/{shared.digest.replace(':', '/')}"] == shared.path.read_bytes()


@pytest.mark.parametrize("name", ["operator", "agent", "runner-cpu"])
def test_containerfile_says_what_its_image_holds_and_how_it_starts(name: str) -> None:
    recipe = recipe_of(ROOT / "images" / f"Containerfile.{name}")
    assert recipe.requirements
    assert all((ROOT / "requirements" / file).is_file() for file in recipe.requirements)
    assert recipe.config["User"] == "65532:65532"
    assert recipe.config["Entrypoint"][:2] == ["python", "-m"]
    assert "HOME=/tmp" in recipe.config["Env"]


def test_hollow_library_has_the_names_and_versions_of_the_original(tmp_path: Path) -> None:
    source, script, original = tmp_path / "x.c", tmp_path / "x.map", tmp_path / "libx.so.1"
    source.write_text("int kept(void) { return 1; } int other(void) { return 2; }")
    script.write_text("NEW { global: kept; };")
    command = ["gcc", "-shared", str(source), f"-Wl,--version-script={script}", "-o", str(original)]
    subprocess.run(command, check=True, capture_output=True)
    hollow = write_hollow(tmp_path / "hollow" / "libx.so.1", original)

    def exported(library: Path) -> set[str]:
        listed = subprocess.run(
            ["nm", "-D", "--defined-only", str(library)], capture_output=True, text=True, check=True
        )
        return {line.split()[-1] for line in listed.stdout.splitlines()}

    assert exported(hollow) == exported(original)
