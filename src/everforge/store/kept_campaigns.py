"""Reads the campaigns that a state directory holds: what `everforge trials` shows.

Every trial and record that `everforge run` writes passes through the outbox and stays there as a file, whether a
tracking server took it or not (`journal.py`). So a campaign can be read without MLflow, without a network, and while
another process is still writing it: files appear whole, and nothing is locked or changed here.
"""

from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from everforge.model.base import Record
from everforge.model.campaign import CampaignRecord
from everforge.model.trial import Trial
from everforge.store.fields import ordered
from everforge.store.journal import Write
from everforge.store.local import OUTBOX_FOLDER


class KeptCampaign(Record):
    """A campaign's last record and its trials, in order of their numbers."""

    record: CampaignRecord
    trials: tuple[Trial, ...]


def kept_campaigns(state_dir: Path) -> tuple[KeptCampaign, ...]:
    """Every campaign of a state directory that got as far as a record, by name and device; none where there is none."""
    records: dict[str, CampaignRecord] = {}
    trials: dict[str, dict[str, Trial]] = {}
    for write in _writes(state_dir / OUTBOX_FOLDER):
        if write.record is not None:
            records[write.campaign_id] = write.record
        if write.trial is not None:
            trials.setdefault(write.campaign_id, {}).setdefault(write.trial.trial_id, write.trial)
    found = (KeptCampaign(record=r, trials=ordered(trials.get(name, {}).values())) for name, r in records.items())
    return tuple(sorted(found, key=lambda kept: (kept.record.name, kept.record.device, kept.record.campaign_id)))


def _writes(outbox: Path) -> Iterator[Write]:
    """Accepted writes first, then those that wait, oldest first: of two records the later one stands."""
    for path in [*sorted(outbox.glob("*/kept/*/*.json")), *sorted(outbox.glob("*/pending/*.json"))]:
        try:
            yield Write.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            continue  # it moved from pending to kept meanwhile; the next look finds it
        except ValidationError:
            continue  # of another version; the next run sets it aside
