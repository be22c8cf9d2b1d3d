"""Writes as files, so that they outlive the process that made them: the outbox's memory.

`pending/` has one file per write that the store behind has not accepted, numbered in order. An accepted trial
or campaign record moves to `kept/`, one folder per campaign, so that a campaign can resume while its server
is away; other accepted writes are deleted. Every file appears whole: written under another name, synced to
the disk, then renamed. A process killed at any point leaves at worst a `.tmp`, which the next one removes.
"""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from pydantic import ValidationError, model_validator

from everforge.errors import StoreUnavailable, UsageError
from everforge.model.base import Record
from everforge.model.campaign import CampaignRecord, CampaignSpec, Champion
from everforge.model.session import TaskFacts
from everforge.model.trial import Trial
from everforge.store import directory_lock

# Sequence number, kind of write; what else a person puts there is left alone.
_PENDING = "[0-9]*-*.json"

_log = logging.getLogger(__name__)


class Write(Record):
    """One write to a store: exactly one of spec, facts, trial and record, or champion together with trial."""

    campaign_id: str
    spec: CampaignSpec | None = None
    facts: TaskFacts | None = None
    trial: Trial | None = None
    champion: Champion | None = None
    record: CampaignRecord | None = None

    @property
    def kind(self) -> str:
        """What is written; part of the file's name."""
        return "champion" if self.champion is not None else self._parts()[0]

    @model_validator(mode="after")
    def _is_one_write(self) -> "Write":
        expected = ["champion", "trial"] if self.champion is not None else self._parts()[:1]
        if not expected or self._parts() != expected:
            raise ValueError(f"a write has one part, or champion and trial; this has {self._parts()}")
        return self

    def _parts(self) -> list[str]:
        names = ("spec", "facts", "champion", "trial", "record")
        return [name for name in names if getattr(self, name) is not None]


class Journal:
    """The files of one outbox.

    Raises UsageError if the directory cannot be used, or another process uses it.
    """

    def __init__(self, directory: Path) -> None:
        self._pending = directory / "pending"
        self._kept = directory / "kept"
        try:
            self._pending.mkdir(parents=True, exist_ok=True)
            self._kept.mkdir(exist_ok=True)
            self._lock = directory_lock.hold(directory)
            for half_written in directory.glob("**/*.tmp"):
                half_written.unlink()
        except OSError as error:
            raise UsageError(f"the state directory {directory} cannot be used: {error}") from error

    def append(self, write: Write) -> None:
        """Add a write behind all others; it is on the disk when this returns.

        Raises StoreUnavailable if the disk does not take it: nothing can be promised then.
        """
        last = max((int(path.name.split("-")[0]) for path in self._pending.glob(_PENDING)), default=0)
        path = self._pending / f"{last + 1:012d}-{write.kind}.json"
        try:
            _replace(path, write.model_dump_json(), synced=True)
        except OSError as error:
            raise StoreUnavailable(f"the outbox cannot be written: {error}") from error

    def waiting(self) -> int:
        """How many writes are pending."""
        return sum(1 for _ in self._pending.glob(_PENDING))

    def pending(self) -> Iterator[tuple[Path, Write]]:
        """Pending writes in the order to replay them, each with its file.

        Campaigns are opened before all else: a store that was emptied meanwhile refuses older writes.
        """
        paths = self._pending.glob(_PENDING)
        for path in sorted(paths, key=lambda path: (not path.stem.endswith("-spec"), path.name)):
            write = _read(path)
            if write is not None:
                yield path, write

    def settle(self, path: Path, write: Write) -> None:
        """The write was accepted: it is no longer pending. One rename or unlink, so never half done."""
        if write.kind in ("trial", "record"):
            kept = self._kept_file(write)
            kept.parent.mkdir(exist_ok=True)
            path.replace(kept)
        else:
            path.unlink()

    def keep(self, write: Write) -> None:
        """Keep a trial or record that was read from the store, for when it is away."""
        kept = self._kept_file(write)
        if not kept.exists() or write.record is not None:
            kept.parent.mkdir(exist_ok=True)
            # Not synced: the store has it as well, and a first resume may copy hundreds.
            _replace(kept, write.model_dump_json(), synced=False)

    def kept(self, campaign_id: str) -> list[Write]:
        """What was accepted of a campaign: its trials and its last record."""
        writes = [_read(path) for path in self._folder(campaign_id).glob("*.json")]
        return [write for write in writes if write is not None]

    def _kept_file(self, write: Write) -> Path:
        name = f"trial-{quote(write.trial.trial_id, safe='')}" if write.trial else "record"
        return self._folder(write.campaign_id) / f"{name}.json"

    def _folder(self, campaign_id: str) -> Path:
        return self._kept / f"campaign-{quote(campaign_id, safe='')}"


def _replace(path: Path, text: str, *, synced: bool) -> None:
    """All of the text or none of it; `synced`, it is still there after a power cut."""
    half_written = path.with_name(f"{path.name}.tmp")
    with half_written.open("wb") as file:
        file.write(text.encode())
        if synced:
            file.flush()
            os.fsync(file.fileno())
    half_written.replace(path)
    if synced:
        _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    """Make a rename in the directory survive a power cut."""
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _read(path: Path) -> Write | None:
    """The write in a file; one that cannot be read is set aside, so that it does not hold up the others."""
    try:
        return Write.model_validate_json(path.read_bytes())
    except ValidationError as error:
        aside = path.with_suffix(".unreadable")
        path.replace(aside)
        _log.warning("%s is not a write this version knows, set aside as %s: %s", path, aside.name, error)
        return None
