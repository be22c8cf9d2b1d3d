"""One reconciliation: observe, decide, carry out; `workers.py` calls it with keys from the queue."""

from dataclasses import replace
from datetime import UTC, datetime

from everforge.clock import Clock
from everforge.operator.cluster import Cluster
from everforge.operator.decide import decide
from everforge.operator.execution import Execution
from everforge.operator.observation import observe
from everforge.operator.observed import Key
from everforge.operator.settings import Settings

# One refusal is answered by a status that says so; the pool's other claims may each meet one of their own.
MAX_REFUSALS = 16


class Reconciler:
    """Brings what a key is about one step nearer to what it should be; calling it again is always right."""

    def __init__(self, cluster: Cluster, settings: Settings, clock: Clock) -> None:
        self._cluster, self._settings, self._clock = cluster, settings, clock

    def reconcile(self, key: Key) -> float:
        """One step; seconds until the next look where nothing changes before. Raises ClusterUnavailable or Refused."""
        observed = observe(key, self._cluster)
        now = datetime.fromtimestamp(self._clock.now_s(), UTC)
        for _ in range(MAX_REFUSALS):
            execution = Execution(self._cluster, now)
            after_s = execution.carry_out(decide(observed, now, self._settings))
            if not execution.refused:
                break
            observed = replace(observed, refused={**observed.refused, **execution.refused})
        if execution.wrote:
            # What was made or deleted is seen at the next look; its event may come first, and is then the same key.
            return 0.0
        return self._settings.resync_s if after_s is None else min(after_s, self._settings.resync_s)
