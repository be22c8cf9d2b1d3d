"""Which programs a cluster is made of: complete sets of one release, found or built; and what is said otherwise."""

import re
from pathlib import Path

import cluster_binaries
import pytest
from cluster_binaries import CONTROL_PLANE, FOR_PEOPLE, MODULE, PACKAGES, BinariesMissing


def programs(directory: Path, names: tuple[str, ...]) -> Path:
    """A directory with executables of these names."""
    directory.mkdir()
    for name in names:
        (directory / name).write_text("#!/bin/sh\n")
        (directory / name).chmod(0o755)
    return directory


@pytest.fixture
def nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with neither programs nor Go."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    return tmp_path


def test_complete_set_of_prebuilt_programs_is_taken(nothing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assets = programs(nothing / "assets", CONTROL_PLANE)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(assets))
    assert cluster_binaries.find() == assets


def test_programs_of_two_places_are_not_mixed(nothing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(programs(nothing / "assets", CONTROL_PLANE[:3])))
    programs(nothing / "bin", CONTROL_PLANE[1:])
    with pytest.raises(BinariesMissing):
        cluster_binaries.find()


def test_machine_without_go_is_told_which_one_it_needs(nothing: Path) -> None:
    with pytest.raises(BinariesMissing, match=r"Install Go 1\.\d+\.\d+ or later"):
        cluster_binaries.build(CONTROL_PLANE)
    with pytest.raises(BinariesMissing, match="KUBEBUILDER_ASSETS"):
        cluster_binaries.find()


def test_build_of_other_sources_has_a_place_of_its_own(
    nothing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs(nothing / "bin", ("go",))
    (nothing / "bin" / "go").write_text("#!/bin/sh\necho go1.25.0\n")
    module = tmp_path / "module"
    module.mkdir()
    (module / "go.mod").write_text("module one\n")
    monkeypatch.setattr(cluster_binaries, "MODULE", module)
    first = cluster_binaries.built_directory()
    (module / "go.mod").write_text("module two\n")
    assert cluster_binaries.built_directory() != first


def test_every_staging_module_has_the_release_of_kubernetes_itself() -> None:
    text = (MODULE / "go.mod").read_text()
    (release,) = re.findall(r"^\s+k8s\.io/kubernetes v1\.(\S+)", text, re.MULTILINE)
    replaced = re.findall(r"^\s+(k8s\.io/\S+) => (\S+) (\S+)$", text, re.MULTILINE)
    assert len(replaced) > 20
    assert all(old == new and version == f"v0.{release}" for old, new, version in replaced)


def test_every_program_is_built_from_a_package_that_the_module_names() -> None:
    text = (MODULE / "go.mod").read_text()
    for name in FOR_PEOPLE:
        package = PACKAGES[name]
        assert (MODULE / package).is_dir() if package.startswith("./") else f"\t{package}\n" in text
