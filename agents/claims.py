"""Runners on a cluster: an agent makes a RunnerClaim, the operator serves it, and the agent connects.

`__main__.py` gives `ClaimedRunners` to a RunnerSupply. A claim is made when a runner is needed, says when it idles, and
is released at the end; one that was taken back meanwhile is followed by another one. Claims carry the agent's reports,
too: an agent that has to say why it needs no runner yet makes a claim that idles from the beginning.
"""

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

from pydantic import ValidationError

from everforge.agents.cluster_api import ApiUnreachable, ClusterApi, Json
from everforge.agents.runner_client import OVER_TCP, Patience, RunnerClient
from everforge.errors import HarnessFault
from everforge.model.agent_report import AgentReport
from everforge.model.credential import token_digest
from everforge.model.runner_claim import CLAIM_KIND, ClaimOwner, ClaimPhase, RunnerClaim, RunnerClaimSpec

API_VERSION = "everforge.dev/v1alpha1"
# A runner's pod takes seconds to start, and may wait for its turn for hours.
_FIRST_LOOK_S = 0.25
_LONGEST_LOOK_S = 5.0
_LONGEST_NAME = 63

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """What claims ask for, and how they are named: `stem`-1, `stem`-2, … for the pod that makes them."""

    pool: str
    owner: ClaimOwner
    stem: str
    requester: str | None = None
    priority: int = 0
    idle_seconds: int = 60


class _Made(NamedTuple):
    """A claim that was made, and the token whose digest it has."""

    name: str
    token: str


class ClaimedRunner(RunnerClient):
    """A runner that serves one claim."""

    def __init__(self, claims: "ClaimedRunners", name: str, claim: RunnerClaim, token: str, patience: Patience) -> None:
        self._claims, self._name = claims, name
        self._uid = claim.metadata.uid
        self._holder = claim.status.holder if claim.status else None
        super().__init__(_address_of(claim), token, self._postmortem_of_claim, patience, self._is_held)
        self._released = False

    def close_session(self, _session_id: str) -> None:
        """Nothing to do: the session ends with its runner, and that with the claim."""

    def rest(self) -> None:
        """Say that nothing is asked of it just now, so that it may be taken for others."""
        self._claims.change(self._name, {"idle": True})

    def resume(self) -> bool:
        """Say that it is needed, and see whether it is still there."""
        self._claims.change(self._name, {"idle": False})
        return self._is_held()

    def close(self) -> None:
        """Release the claim; its runner ends. Closing twice is closing once."""
        if not self._released:
            self._released = True
            self._claims.change(self._name, {"released": True})

    def _is_held(self) -> bool:
        """Whether the same runner still serves the claim; True while the API server does not say."""
        try:
            claim = self._claims.read(self._name)
        except ApiUnreachable:
            return True
        if claim is None or claim.status is None or claim.metadata.uid != self._uid:
            return False
        return claim.status.phase is ClaimPhase.BOUND and claim.status.holder == self._holder

    def _postmortem_of_claim(self) -> str:
        try:
            claim = self._claims.read(self._name)
        except HarnessFault:
            return ""
        status = claim.status if claim is not None else None
        if status is None:
            return f"; its RunnerClaim {self._name} is gone"
        said = f": {status.message}" if status.message else ""
        return f"; its RunnerClaim {self._name} is {status.phase} on node {status.node or 'unknown'}{said}"


class ClaimedRunners:
    """Makes claims one after the other, each answered by a runner; a `StartRunner`."""

    def __init__(
        self,
        api: ClusterApi,
        wanted: Wanted,
        tell: Tell,
        patience: Patience = OVER_TCP,
        sleep: Callable[[float], None] = time.sleep,
        new_token: Callable[[], str] = secrets.token_urlsafe,
    ) -> None:
        self._api, self._wanted, self._tell = api, wanted, tell
        self._patience, self._sleep, self._new_token = patience, sleep, new_token
        self._path = f"/apis/{API_VERSION}/namespaces/{api.namespace}/runnerclaims"
        # Reports come from a thread of their own.
        self._lock = threading.Lock()
        self._made = 0
        self._latest: str | None = None
        self._resting: _Made | None = None
        self._report: AgentReport | None = None

    def __call__(self) -> ClaimedRunner:
        """A runner of a new claim, as soon as there is one: waits for it for as long as it takes.

        Raises UsageError for a claim that is not allowed, HarnessFault for one that cannot be served.
        """
        name, token = self._asked()
        self._tell(f"RunnerClaim {name} waits for a runner on pool {self._wanted.pool}")
        try:
            claim = self._bound(name)
            runner = ClaimedRunner(self, name, claim, token, self._patience)
        except BaseException:
            self.change(name, {"released": True})
            raise
        self._tell(f"RunnerClaim {name} is served by {claim.status.holder if claim.status else 'a runner'}")
        return runner

    def report(self, report: AgentReport) -> None:
        """Have the operator know how far the campaign has come: by the latest claim, and by those to come.

        Where there is none, what the agent waits for is told by one that asks for no runner yet.
        """
        with self._lock:
            self._report = report
            if self._latest is not None and self.change(self._latest, {"report": _replacing(report)}):
                return
            if report.tracking_trouble is not None:
                self._rest()

    def read(self, name: str) -> RunnerClaim | None:
        """The claim of a name. Raises ApiUnreachable, ApiRefused; HarnessFault for one that is unreadable."""
        found = self._api.get(f"{self._path}/{name}")
        return None if found is None else _parsed(found)

    def change(self, name: str, spec: Json) -> bool:
        """Change the spec of a claim; False where there is none of the name.

        One that cannot be reached is left as it is: the operator sees by itself what an agent cannot say.
        """
        try:
            return self._api.merge(f"{self._path}/{name}", {"spec": spec}) is not None
        except HarnessFault as fault:
            self._tell(str(fault))
            return True

    def _asked(self) -> _Made:
        """A claim that asks for a runner: the one that rested so far, or a new one."""
        with self._lock:
            made, self._resting = self._resting, None
            if made is not None and self._api.merge(f"{self._path}/{made.name}", {"spec": {"idle": False}}) is not None:
                return made
            return self._create(idle=False)

    def _rest(self) -> None:
        """Make a claim that asks for no runner yet, if one can be made: it only carries the report."""
        try:
            self._resting = self._create(idle=True)
        except HarnessFault as fault:
            self._tell(str(fault))

    def _create(self, idle: bool) -> _Made:
        token = self._new_token()
        credential = token_digest(token)
        while True:
            self._made += 1
            name = f"{self._wanted.stem[: _LONGEST_NAME - 4].rstrip('-')}-{self._made}"
            if self._api.create(self._path, self._manifest(name, credential, idle)) or self._is_ours(name, credential):
                self._latest = name
                return _Made(name, token)

    def _is_ours(self, name: str, credential: str) -> bool:
        """Whether a claim that was there is this one: of a request whose answer was lost."""
        claim = self.read(name)
        return claim is not None and claim.spec.credential_digest == credential

    def _manifest(self, name: str, credential: str, idle: bool) -> Json:
        wanted = self._wanted
        spec = RunnerClaimSpec(
            pool=wanted.pool,
            owner=wanted.owner,
            credential_digest=credential,
            requester=wanted.requester,
            priority=wanted.priority,
            idle_seconds=wanted.idle_seconds,
            idle=idle,
            report=self._report,
        )
        owner = {"apiVersion": API_VERSION, "kind": "KernelOptimization", "name": wanted.owner.name}
        return {
            "apiVersion": API_VERSION,
            "kind": CLAIM_KIND,
            "metadata": {"name": name, "ownerReferences": [{**owner, "uid": wanted.owner.uid}]},
            "spec": spec.written(),
        }

    def _bound(self, name: str) -> RunnerClaim:
        """The claim once it is served."""
        delay_s, said = _FIRST_LOOK_S, None
        while True:
            claim = self._seen(name)
            status = claim.status if claim is not None else None
            if claim is not None and status is not None:
                if status.phase is ClaimPhase.BOUND:
                    return claim
                if status.phase.is_finished:
                    raise HarnessFault(f"RunnerClaim {name} was ended before it was served: {status.message}")
                if status.message and status.message != said:
                    said = status.message
                    self._tell(f"RunnerClaim {name} is {status.phase}: {said}")
            self._sleep(delay_s)
            delay_s = min(2 * delay_s, _LONGEST_LOOK_S)

    def _seen(self, name: str) -> RunnerClaim | None:
        """The claim, None while the API server is away. Raises HarnessFault for one that is gone."""
        try:
            claim = self.read(name)
        except ApiUnreachable as error:
            self._tell(str(error))
            return None
        if claim is None:
            raise HarnessFault(f"RunnerClaim {name} was deleted before it was served")
        return claim


def _address_of(claim: RunnerClaim) -> tuple[str, int]:
    url = urlsplit((claim.status.address if claim.status else None) or "")
    if url.scheme != "http" or url.hostname is None or url.port is None:
        raise HarnessFault(
            f"RunnerClaim {claim.metadata.name} has the address {url.geturl()!r}; http://HOST:PORT is spoken"
        )
    return url.hostname, url.port


def _replacing(report: AgentReport) -> Json:
    """The report as a merge patch: what it does not say, nothing says any more."""
    return {**{field.alias or name: None for name, field in AgentReport.model_fields.items()}, **report.written()}


def _parsed(found: Json) -> RunnerClaim:
    try:
        return RunnerClaim.read(found)
    except ValidationError as error:
        raise HarnessFault(f"a RunnerClaim is of another version than this agent: {error}") from None
