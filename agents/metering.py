"""Reports what campaigns do to whoever counts it: the port of the metrics, and the listener that feeds it.

`agents/workstation.py` puts the listener beside the display's and gives the outbox the same meter;
`telemetry/metrics.py` is the meter that Prometheus reads.
"""

from typing import Protocol

from everforge.model.device import DeviceKind
from everforge.model.trial import Conversation, Trial
from everforge.search.events import Event, Listener, ModelReplied, TaskAccepted, TrialFinished
from everforge.store.outbox import OutboxWatch


class Meter(OutboxWatch, Protocol):
    """Counts what campaigns and their outbox do."""

    def trial_finished(self, trial: Trial, reused: bool) -> None:
        """A trial was recorded; `reused` if nothing was measured for it."""

    def device_held(self, device: DeviceKind, seconds: float) -> None:
        """A device was held outside trials."""

    def model_replied(self, conversation: Conversation) -> None:
        """A model was asked and answered."""


def metered(meter: Meter) -> Listener:
    """A listener that reports every event that costs something."""

    def listener(event: Event) -> None:
        match event:
            case TaskAccepted(facts=facts):
                meter.device_held(facts.environment.device, facts.device_seconds)
            case ModelReplied(conversation=conversation):
                meter.model_replied(conversation)
            case TrialFinished(trial=trial, reused=reused):
                meter.trial_finished(trial, reused)

    return listener
