"""A store that is never there: behind the outbox it keeps everything on disk for a later MLflow.

`--tracking-uri offline` chooses it, on machines without MLflow; the next run there or elsewhere with the same
state directory and MLflow installed writes what waited.
"""

from typing import Any, NoReturn

from everforge.errors import StoreUnavailable

OFFLINE = "offline"


class OfflineStore:
    """Refuses every read and write, so that the outbox keeps them."""

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise StoreUnavailable("tracking is offline: what is written waits in the outbox")

    open_campaign = record_facts = record_trial = trials = _refuse
    register_champion = record_campaign = campaign = _refuse

    def flush(self) -> int:
        """Nothing waits here: it waits in the outbox."""
        return 0
