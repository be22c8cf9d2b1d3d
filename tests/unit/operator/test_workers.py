"""A worker's key is done, done again later, or failed; no failure of one stops the others."""

import pytest

from everforge.operator.cluster import ClusterUnavailable
from everforge.operator.observed import Key
from everforge.operator.workers import Workers
from everforge.operator.workqueue import WorkQueue

KEY = Key("DevicePool", "cpu")


class Heard:
    def __init__(self) -> None:
        self.errors: list[Exception | None] = []

    def reconciled(self, key: Key, seconds: float, error: Exception | None) -> None:
        self.errors.append(error)


@pytest.mark.parametrize("error", [None, ClusterUnavailable("away"), ZeroDivisionError("a defect")])
def test_outcome_of_a_reconciliation_is_heard_and_the_key_comes_back(error: Exception | None) -> None:
    queue: WorkQueue[Key] = WorkQueue(lambda: 0.0)
    heard = Heard()

    def reconcile(_key: Key) -> float:
        if error is not None:
            raise error
        return 600.0

    queue.add(KEY)
    taken = queue.take_due()
    assert taken == KEY
    Workers(queue, reconcile, lambda: 0.0, heard).once(KEY)
    assert heard.errors == [error]
    assert queue.take_due() is None
    assert queue.state().failing == (error is not None)


def test_threads_work_until_the_queue_is_closed() -> None:
    queue: WorkQueue[Key] = WorkQueue(lambda: 0.0)
    heard = Heard()

    def reconcile(_key: Key) -> float:
        queue.close()
        return 0.0

    queue.add(KEY)
    for thread in Workers(queue, reconcile, lambda: 0.0, heard).start():
        thread.join(timeout=10)
        assert not thread.is_alive()
    assert heard.errors == [None]
