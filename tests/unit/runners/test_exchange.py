"""Only the answer to the request counts: what else a hostile end writes is found out, and none of it takes for ever."""

import json
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everforge.runners.isolation.channel import Channel, ChannelClosed, ChannelTimeout
from everforge.runners.isolation.exchange import ANSWER_LIMIT_BYTES, AnsweringEnd, AskingEnd, ChannelForged

Ends = tuple[AskingEnd, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    asking, other = AskingEnd.pair()
    yield asking, other
    asking.close()
    other.close()


def ask(asking: AskingEnd, timeout_s: float = 10.0, watch: Callable[[], None] = lambda: None) -> dict[str, Any]:
    return asking.ask({"op": "call"}, (), time.monotonic() + timeout_s, watch)


def framed(body: bytes) -> bytes:
    return struct.pack("!I", len(body)) + body


def answering(other: socket.socket, reply: Callable[[str], bytes]) -> threading.Thread:
    """A hostile end that reads one request and writes what `reply` makes of its number."""

    def run() -> None:
        message, _ = Channel(other).receive(10.0)
        other.sendall(reply(message["number"]))

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def outcome(asking: AskingEnd, other: socket.socket, reply: Callable[[str], bytes]) -> dict[str, Any]:
    thread = answering(other, reply)
    try:
        return ask(asking)
    finally:
        thread.join()


def envelope(number: str, answer: object) -> bytes:
    return framed(json.dumps({"number": number, "answer": answer}).encode())


def test_answer_of_the_right_number_is_returned(ends: Ends) -> None:
    assert outcome(*ends, lambda number: envelope(number, {"seconds": 0.5})) == {"seconds": 0.5}


def test_workers_loop_needs_to_know_of_no_number(ends: Ends) -> None:
    asking, other = ends
    worker = AnsweringEnd(other)

    def loop() -> None:
        for _ in range(2):
            message, _ = worker.receive(10.0)
            worker.send({"heard": message["op"]})

    thread = threading.Thread(target=loop)
    thread.start()
    assert [ask(asking), ask(asking)] == [{"heard": "call"}] * 2
    thread.join()


def test_numbers_cannot_be_guessed_from_earlier_ones(ends: Ends) -> None:
    asking, other = ends
    numbers: list[str] = []

    def reply(number: str) -> bytes:
        numbers.append(number)
        return envelope(number, {})

    for _ in range(3):
        outcome(asking, other, reply)
    assert len(set(numbers)) == 3
    assert all(len(number) == 32 for number in numbers)


@pytest.mark.parametrize(
    ("reply", "evidence"),
    [
        pytest.param(lambda _: envelope("0" * 32, {}), "another request", id="wrong number"),
        pytest.param(lambda _: framed(b'{"answer": {}}'), "another request", id="no number"),
        pytest.param(lambda n: envelope(n, [1]), "not an answer", id="answer that is no object"),
        pytest.param(lambda _: framed(b"[]"), "not an answer", id="message that is no object"),
        pytest.param(lambda _: framed(b"null"), "not an answer", id="null"),
        pytest.param(lambda _: framed(b"\x80\x04."), "not JSON", id="pickle"),
        pytest.param(lambda n: envelope(n, {"t": float("nan")}), "not JSON", id="NaN"),
        pytest.param(lambda _: framed(b'{"answer": {"t": 1e999}}'), "not JSON", id="number beyond all numbers"),
        pytest.param(lambda _: framed(b"[" * 100_000), "not JSON", id="deep"),
        pytest.param(lambda _: framed(b"9" * 10_000), "not JSON", id="long number"),
        pytest.param(lambda n: envelope(n, {}) * 2, "more than one answer", id="surplus answer"),
        pytest.param(lambda n: envelope(n, {}) + b"x", "more than one answer", id="surplus byte"),
        pytest.param(lambda _: struct.pack("!I", ANSWER_LIMIT_BYTES + 1), "announced", id="size over the limit"),
    ],
)
def test_forgery_is_told_with_its_evidence(ends: Ends, reply: Callable[[str], bytes], evidence: str) -> None:
    with pytest.raises(ChannelForged, match=evidence) as caught:
        outcome(*ends, reply)
    assert caught.value.evidence == str(caught.value)


def test_bytes_that_nobody_asked_for_are_found_before_the_next_request(ends: Ends) -> None:
    asking, other = ends
    outcome(asking, other, lambda number: envelope(number, {}))
    other.sendall(b"x")
    with pytest.raises(ChannelForged, match="nothing was asked"):
        ask(asking)
    assert not select.select([other], [], [], 0)[0], "the request was sent all the same"


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(lambda _: b"", id="nothing"),
        pytest.param(lambda _: b"\0\0", id="half a size"),
        pytest.param(lambda n: envelope(n, {})[:-1], id="half an answer"),
    ],
)
def test_answer_that_breaks_off_is_the_end_and_no_forgery(ends: Ends, reply: Callable[[str], bytes]) -> None:
    asking, other = ends
    message = threading.Thread(target=lambda: (Channel(other).receive(10.0), other.sendall(reply("")), other.close()))
    message.start()
    with pytest.raises(ChannelClosed):
        ask(asking)
    message.join()


def test_end_that_is_gone_is_closed_and_no_forgery(ends: Ends) -> None:
    ends[1].close()
    with pytest.raises(ChannelClosed):
        ask(ends[0])


def test_half_a_character_becomes_a_printable_one(ends: Ends) -> None:
    answer = outcome(*ends, lambda number: envelope(number, {"line\ud800": ["\udc80", "whole \U0001f600"]}))
    assert answer == {"line?": ["?", "whole \U0001f600"]}


@pytest.mark.parametrize("step", [b"", b"\0"], ids=["silent", "byte by byte"])
def test_stalled_answer_is_given_up_at_the_deadline_and_watched_until_then(ends: Ends, step: bytes) -> None:
    asking, other = ends
    over = threading.Event()

    def trickle() -> None:
        other.sendall(struct.pack("!I", ANSWER_LIMIT_BYTES))
        while step and not over.wait(0.001):
            other.sendall(step)

    looks: list[float] = []
    thread = threading.Thread(target=lambda: (Channel(other).receive(10.0), trickle()))
    thread.start()
    began_s = time.monotonic()
    with pytest.raises(ChannelTimeout):
        ask(asking, timeout_s=2.0, watch=lambda: looks.append(time.monotonic()))
    assert time.monotonic() - began_s < 8  # a busy machine may stand still for a second
    over.set()
    thread.join()
    assert looks


def test_request_that_is_not_read_is_given_up_at_the_deadline(ends: Ends) -> None:
    asking, _ = ends
    with pytest.raises(ChannelTimeout):
        asking.ask({"source": "x" * (4 << 20)}, (), time.monotonic() + 0.3, lambda: None)


def test_descriptors_sent_with_an_answer_are_not_taken(ends: Ends) -> None:
    asking, other = ends
    before = len(os.listdir("/proc/self/fd"))

    def run() -> None:
        message, _ = Channel(other).receive(10.0)
        data = envelope(message["number"], {"x": "y" * 200})
        for byte in data:
            socket.send_fds(other, [bytes([byte])], [other.fileno()] * 16)

    thread = threading.Thread(target=run)
    thread.start()
    ask(asking)
    thread.join()
    assert len(os.listdir("/proc/self/fd")) == before


@given(st.binary(max_size=200), st.booleans())
def test_arbitrary_bytes_end_in_one_of_three_ways(data: bytes, whole: bool) -> None:
    asking, other = AskingEnd.pair()
    try:
        thread = threading.Thread(
            target=lambda: (Channel(other).receive(10.0), other.sendall(framed(data) if whole else data), other.close())
        )
        thread.start()
        with pytest.raises((ChannelForged, ChannelClosed)):
            ask(asking)
        thread.join()
    finally:
        asking.close()
        other.close()


def test_answer_too_large_to_be_one_is_refused_where_it_is_made(ends: Ends) -> None:
    with pytest.raises(ValueError, match="over the limit"):
        AnsweringEnd(ends[1]).send({"line": "x" * ANSWER_LIMIT_BYTES})
