"""What an operator is told when it starts: images, addresses and limits that are the same for every object.

`__main__.py` reads these from the command line; tests make them by hand.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Resources:
    """What a container asks for and may not exceed; Kueue and quotas count the limits."""

    cpu: str
    memory: str
    ephemeral_storage: str

    def to_api(self) -> dict[str, str]:
        """As a pod's resource list."""
        return {"cpu": self.cpu, "memory": self.memory, "ephemeral-storage": self.ephemeral_storage}


@dataclass(frozen=True)
class Settings:
    """One operator's settings."""

    agent_image: str = "everforge-agent:latest"
    # The tracking server is the cluster's affair: an object's author may not send records, or a token, elsewhere.
    tracking_uri: str | None = None
    # Bound in every namespace of users by deploy/agent-access.yaml; it may use RunnerClaims there, nothing else.
    agent_service_account: str = "everforge-agent"
    image_pull_policy: str = "IfNotPresent"
    # An agent is one Python process that waits for models, and an optuna study: 0.3 GB and little CPU.
    agent_resources: Resources = Resources("1", "2Gi", "2Gi")
    scratch_size: str = "4Gi"
    shared_memory_size: str = "1Gi"
    # Five ends by the machine's fault on one campaign or claim: above two bad nodes and a bad rollout.
    max_attempts: int = 5
    # The first retry waits 10 s, each next twice as long: a node that reboots is back before the limit is reached.
    retry_delay_s: float = 10.0
    # A Secret is not watched, only asked for; somebody who has just made one waits no longer than this.
    reference_check_s: float = 15.0
    # How often what does not start is asked why: a quota or a missing volume is told by Events, after seconds.
    trouble_check_s: float = 10.0
    # What the API server refused, as for a used-up quota, is tried again after this.
    refusal_retry_s: float = 30.0
    # Every object is looked at again after this, though no event came.
    resync_s: float = 600.0
