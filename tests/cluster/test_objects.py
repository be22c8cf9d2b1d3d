"""The three kinds in a real API server: it takes what the model takes, and refuses the rest in the same words.

Rows come from `objects/*.yaml`. Objects are created in a dry run wherever nothing has to be there afterwards.
"""

import copy
import json
import re
import secrets
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kubernetes import client
from object_tables import KIND_BY_NAME, Row, said_by_model, smallest, table

from everforge.model.custom_resource import GROUP, KINDS, VERSION, Kind, parts_of
from everforge.model.device_pool import DevicePoolSpec
from everforge.model.manifest import KernelOptimizationSpec
from everforge.model.runner_claim import RunnerClaimSpec
from everforge.testing.record_strategies import records

CRDS = Path(__file__).parents[2] / "crds"
ACCEPTED, REFUSED, CHANGED = table("accepted"), table("refused"), table("changed")
SPECS = {
    "KernelOptimization": KernelOptimizationSpec,
    "DevicePool": DevicePoolSpec,
    "RunnerClaim": RunnerClaimSpec,
}
Kubectl = Callable[..., subprocess.CompletedProcess[str]]
# A dry run takes a hundredth of a second; a few dozen examples leave a session short.
drawn = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def by_case(row: Row) -> str:
    return f"{row.kind}: {row.case}"


class Objects:
    """The kinds' API in one namespace."""

    def __init__(self, admin: client.ApiClient, namespace: str) -> None:
        self._api = client.CustomObjectsApi(admin)
        self._namespace = namespace

    def create(self, manifest: Mapping[str, Any], dry: bool = True) -> dict[str, Any]:
        """The object as the server stored it, or would. Raises ApiException."""
        options = {"field_validation": "Strict"} | ({"dry_run": "All"} if dry else {})
        kind = KIND_BY_NAME[manifest["kind"]]
        if kind.namespaced:
            create = self._api.create_namespaced_custom_object
            return dict(create(GROUP, VERSION, self._namespace, kind.plural, manifest, **options))
        return dict(self._api.create_cluster_custom_object(GROUP, VERSION, kind.plural, manifest, **options))

    def patch(self, manifest: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
        """Merge a patch, one of `status` at the status subresource. Raises ApiException."""
        kind, name = KIND_BY_NAME[manifest["kind"]], manifest["metadata"]["name"]
        of_status = "_status" if "status" in patch else ""
        scope = ("namespaced", (GROUP, VERSION, self._namespace)) if kind.namespaced else ("cluster", (GROUP, VERSION))
        call = getattr(self._api, f"patch_{scope[0]}_custom_object{of_status}")
        return dict(call(*scope[1], kind.plural, name, patch, field_validation="Strict"))

    def delete(self, manifest: Mapping[str, Any]) -> None:
        """Remove an object that belongs to no namespace; the others go with theirs."""
        kind = KIND_BY_NAME[manifest["kind"]]
        if not kind.namespaced:
            self._api.delete_cluster_custom_object(GROUP, VERSION, kind.plural, manifest["metadata"]["name"])


def complaints(error: client.ApiException) -> list[str]:
    """What an API server says of an object, one text for each mistake: `field: message`."""
    said = json.loads(error.body)
    causes = said.get("details", {}).get("causes") or []
    texts = [f"{cause.get('field', '')}: {VALUE.sub('', cause['message'])}" for cause in causes]
    return [text for text in texts if "some validation rules were not checked" not in text] or [said["message"]]


# What a rule of ours says follows the value, or its type: that differs with the server's version.
VALUE = re.compile(r"""(?<=^Invalid value: )("([^"\\]|\\.)*"|[-0-9.]+): (?!\S+ in body)""")


def refusal(call: Callable[[], object]) -> list[str]:
    """What the server says to a call; nothing if it takes it."""
    try:
        call()
    except client.ApiException as error:
        if error.status not in (400, 422):
            raise
        return complaints(error)
    return []


@pytest.fixture(scope="module")
def definitions(kubectl: Kubectl) -> None:
    """The API server knows the kinds; another test that installs them installs the same."""
    for command in (
        ["apply", "--server-side", "--force-conflicts", "-f", str(CRDS)],
        ["wait", "--for=condition=Established", "--timeout=60s", "-f", str(CRDS)],
    ):
        done = kubectl(*command)
        assert done.returncode == 0, done.stderr


@pytest.fixture
def objects(admin: client.ApiClient, namespace: str, definitions: None) -> Objects:
    return Objects(admin, namespace)


@pytest.fixture(scope="module")
def lasting_namespace(admin: client.ApiClient) -> Iterator[str]:
    """One namespace for all drawn objects, none of which stays."""
    name = f"drawn-{secrets.token_hex(4)}"
    client.CoreV1Api(admin).create_namespace({"metadata": {"name": name}})
    yield name
    client.CoreV1Api(admin).delete_namespace(name)


@pytest.fixture(scope="module")
def dry(admin: client.ApiClient, lasting_namespace: str, definitions: None) -> Objects:
    return Objects(admin, lasting_namespace)


@pytest.mark.parametrize("row", ACCEPTED, ids=by_case)
def test_good_object_is_stored_with_the_models_defaults(dry: Objects, row: Row) -> None:
    made = row.object()
    assert said_by_model(made) == []
    spec = KIND_BY_NAME[row.kind].record.read(made).written()["spec"]
    assert dry.create(made)["spec"] == spec


@pytest.mark.parametrize("row", REFUSED, ids=by_case)
def test_bad_object_is_refused_here_and_there(dry: Objects, row: Row) -> None:
    made = row.object()
    on_server, in_model = refusal(lambda: dry.create(made)), said_by_model(made)
    for said, wanted in ((on_server, row.server), (in_model, row.model)):
        assert len(said) == len(wanted), said
        assert all(any(text in each for each in said) for text in wanted), said


def test_twin_rules_speak_in_the_same_words_and_each_was_heard() -> None:
    twins = {rule.message for kind in KINDS for part in parts_of(kind.record) for rule in part.RULES if rule.twin}
    heard = {text for row in REFUSED for text in row.server}
    status_only = {text for row in CHANGED for text in row.server}
    # Shorter than 64 KiB in characters but not in bytes: has a test of its own below.
    own_test = {message for message in twins if message.startswith("inline takes 64 KiB")}
    for message in twins - own_test:
        assert any(message in text for text in heard | status_only), message
        if any(message in text for text in heard) and "nodeSelector" not in message:
            assert any(message in text for row in REFUSED for text in row.model), message


def test_inline_task_is_counted_in_bytes_by_both(dry: Objects) -> None:
    made = smallest("KernelOptimization")
    made["spec"]["task"]["inline"] = "é" * 32769
    (on_server,), (in_model,) = refusal(lambda: dry.create(made)), said_by_model(made)
    message = "inline takes 64 KiB at most; put a longer task into a ConfigMap or a repository"
    assert (on_server, in_model) == (
        f"spec.task.inline: Invalid value: {message}",
        f"spec.task.inline: {message}",
    )


@pytest.mark.parametrize("row", CHANGED, ids=by_case)
def test_change_is_taken_or_refused(objects: Objects, row: Row) -> None:
    made = row.object()
    objects.create(made, dry=False)
    try:
        *first, last = row.patches
        for patch in first:
            objects.patch(made, patch)
        said = refusal(lambda: objects.patch(made, last))
    finally:
        objects.delete(made)
    assert len(said) == len(row.server), said
    assert all(any(text in each for each in said) for text in row.server), said


def test_every_rule_about_a_change_is_in_the_table() -> None:
    rules = [rule for kind in KINDS for part in parts_of(kind.record) for rule in part.RULES if rule.is_transition]
    heard = " ".join(text for row in CHANGED for text in row.server)
    for rule in rules:
        assert rule.message.partition(",")[0].partition(":")[0] in heard, rule.message


def test_user_cannot_write_a_result(objects: Objects) -> None:
    made = smallest("KernelOptimization") | {"status": {"speedup": "99"}}
    assert "status" not in objects.create(made, dry=False)
    assert "status" not in objects.patch(made, {"spec": {"suspend": True}, "metadata": {}})


@drawn
@given(data=st.data())
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.plural)
def test_whatever_the_model_takes_the_server_takes_unchanged(dry: Objects, kind: Kind, data: st.DataObject) -> None:
    spec = data.draw(records(SPECS[kind.record.__name__])).written()
    made = smallest(kind.record.__name__) | {"spec": spec}
    assert kind.record.read(made).written()["spec"] == spec
    assert dry.create(made)["spec"] == spec


@drawn
@given(data=st.data())
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.plural)
def test_whatever_the_server_takes_the_model_takes(dry: Objects, kind: Kind, data: st.DataObject) -> None:
    made = smallest(kind.record.__name__)
    made["spec"] = data.draw(records(SPECS[kind.record.__name__])).written()
    spoil(made["spec"], data)
    try:
        stored = dry.create(made)
    except client.ApiException:
        assert said_by_model(made), made
    else:
        assert kind.record.read(stored).written()["spec"] == stored["spec"]


# What people write in the wrong place. Floats without a fraction are left out: an API server stores them as integers.
WRONG_VALUES: st.SearchStrategy[Any] = st.sampled_from(
    [0, -1, 1, 2**53, 2**63, 0.5, True, "", "a", "0", "1.5", "-1", "A b", "x" * 300, [], ["a", "a"], {}, {"a": "b"}]
)


def spoil(value: dict[str, Any], data: st.DataObject) -> None:
    """Put a wrong value somewhere, or take a field away, or add one."""
    places = list(containers(value))
    place = data.draw(st.sampled_from(places))
    key = data.draw(st.sampled_from([*place, "noSuchField"]))
    if key in place and data.draw(st.booleans()):
        del place[key]
    else:
        place[key] = copy.deepcopy(data.draw(WRONG_VALUES))


def containers(value: Any) -> Iterator[dict[str, Any]]:
    """Every mapping in a value, itself included."""
    if isinstance(value, dict):
        yield value
        for part in value.values():
            yield from containers(part)
    elif isinstance(value, list):
        for part in value:
            yield from containers(part)


def test_columns_tell_what_users_ask(kubectl: Kubectl, objects: Objects, namespace: str) -> None:
    made = smallest("KernelOptimization")
    objects.create(made, dry=False)
    time = "2026-11-20T10:00:00Z"
    ended = {"type": "Succeeded", "status": "True", "reason": "GoalReached", "message": "", "lastTransitionTime": time}
    objects.patch(made, {"status": {"speedup": "1.52", "trials": {"finished": 12}, "conditions": [ended]}})
    header, line = kubectl("get", "kopt", "--namespace", namespace).stdout.splitlines()
    assert header.split() == ["NAME", "SUCCEEDED", "REASON", "SPEEDUP", "UNCONFIRMED", "TRIALS", "AGE"]
    assert line.split()[:5] == ["softmax", "True", "GoalReached", "1.52", "12"]
    waited = kubectl("wait", "--for=condition=Succeeded", "--timeout=10s", "kopt/softmax", "--namespace", namespace)
    assert waited.returncode == 0, waited.stderr


def test_one_category_lists_what_is_everforges(kubectl: Kubectl, objects: Objects, namespace: str) -> None:
    for kind in ("KernelOptimization", "RunnerClaim"):
        objects.create(smallest(kind), dry=False)
    listed = kubectl("get", "everforge", "--namespace", namespace, "--output=name").stdout.split()
    assert {name.partition(".")[0] for name in listed} >= {"kerneloptimization", "runnerclaim"}


@pytest.mark.parametrize("place", ["kopt.spec.task", "kopt.status.targets.champion", "dpool.spec", "rclaim.status"])
def test_explain_describes_every_field(kubectl: Kubectl, definitions: None, place: str) -> None:
    told = kubectl("explain", place)
    assert told.returncode == 0, told.stderr
    _head, _fields, listed = told.stdout.partition("FIELDS:\n")
    entries = [entry.strip().splitlines() for entry in listed.split("\n\n") if entry.strip()]
    assert entries
    for entry in entries:
        assert "<no description>" not in " ".join(entry), entry
        assert len(entry) > 1, entry
