"""`everforge trials NAME`: what a campaign tried, as a tree: parents, strategies, reasons, verdicts, speedups.

It reads what `everforge run` keeps in its state directory, also of a campaign that is still running.
"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from everforge.cli.trial_tree import campaign_trials, trial_tree
from everforge.errors import UsageError
from everforge.model.device import DeviceKind
from everforge.store.kept_campaigns import KeptCampaign, kept_campaigns


def trials(
    name: Annotated[str, typer.Argument(help="Name of the campaign: metadata.name of its manifest.")],
    device: Annotated[DeviceKind | None, typer.Option(help="Only the campaign on this device.")] = None,
    state_dir: Annotated[Path, typer.Option(help="Where `everforge run` kept its trials: its own --state-dir.")] = Path(
        ".everforge"
    ),
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a campaign on stdout instead of the tree.")
    ] = False,
) -> None:
    """Show the tree of a campaign's trials; one tree for each task and device that had the name.

    Exit codes: 0 shown; 2 no such campaign.
    """
    found = _named(name, device, state_dir)
    console = Console(highlight=False)
    for kept in found:
        if as_json:
            typer.echo(campaign_trials(kept).model_dump_json())
        else:
            console.print(trial_tree(kept))
            if not kept.trials:
                console.print("no trial was recorded yet: run the campaign (again)", style="dim")


def _named(name: str, device: DeviceKind | None, state_dir: Path) -> list[KeptCampaign]:
    """The campaigns of a name. Raises UsageError that says which there are."""
    everything = kept_campaigns(state_dir)
    named = [kept for kept in everything if kept.record.name == name]
    found = [kept for kept in named if device in (None, kept.record.device)]
    if found:
        return found
    if not everything:
        raise UsageError(
            f"{state_dir} keeps no campaign: run `everforge run MANIFEST` first, or name another --state-dir"
        )
    if named:
        devices = ", ".join(sorted({kept.record.device for kept in named}))
        raise UsageError(f"campaign {name} was not run on {device}, only on {devices}")
    names = ", ".join(sorted({kept.record.name for kept in everything}))
    raise UsageError(f"{state_dir} keeps no campaign named {name}; there are: {names}")
