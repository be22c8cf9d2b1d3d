"""The champion's source as a file a person can open and `everforge evaluate` can read."""

import os
from pathlib import Path

from everforge.model.campaign import CampaignSpec
from everforge.model.candidate import Candidate


def write_champion(directory: Path, spec: CampaignSpec, candidate: Candidate) -> Path:
    """Write `<name>-<device>.py` with exactly the candidate's source: its digest stays what it was."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{spec.name}-{spec.device}.py"
    partial = path.with_suffix(".partial")
    partial.write_text(candidate.source, encoding="utf-8")
    os.replace(partial, path)
    return path
