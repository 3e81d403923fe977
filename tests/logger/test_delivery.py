"""Guards: a caller that waits for a server, things lost or out of order while it is away, and an end that never comes."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from manyheads.logger.delivery import Delivery


class Server:
    """Takes what it is sent; while `away` it fails, and while `held` it does not answer."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, list[Any]]] = []
        self.away = 0  # so many more calls fail
        self.calls = 0
        self.held = threading.Event()
        self.held.set()

    def send(self, kind: str, items: Sequence[Any]) -> None:
        self.calls += 1
        self.held.wait(10)
        if self.away:
            self.away -= 1
            raise ConnectionError("away")
        if "bad" in items:
            raise ValueError("refused")
        self.taken.append((kind, list(items)))


def make(server: Server, troubles: list[str], **options: Any) -> Delivery:
    return Delivery(
        server.send,
        hopeless=lambda error: isinstance(error, ValueError),
        on_trouble=lambda error: troubles.append(str(error)),
        pauses=(0.01,),
        **options,
    )


def test_order_is_kept_and_neighbours_of_a_kind_go_together() -> None:
    server, troubles = Server(), []
    server.held.clear()
    delivery = make(server, troubles, most=2)
    for kind, item in [("a", 1), ("a", 2), ("a", 3), ("b", 4), ("a", 5)]:
        delivery.put(kind, item)
    while not server.calls:
        time.sleep(0.001)
    server.held.set()
    assert delivery.close(10) == 0
    sent = [(kind, item) for kind, items in server.taken for item in items]
    assert sent == [("a", 1), ("a", 2), ("a", 3), ("b", 4), ("a", 5)]
    assert max(len(items) for _, items in server.taken) <= 2
    assert troubles == []


def test_what_was_not_taken_is_sent_again_and_the_trouble_is_told_once() -> None:
    server, troubles = Server(), []
    server.away = 3
    delivery = make(server, troubles)
    delivery.put("a", 1)
    while server.away:
        time.sleep(0.001)
    delivery.put("a", 2)
    assert delivery.close(10) == 0
    assert [item for _, items in server.taken for item in items] == [1, 2]
    assert troubles == ["away"]


def test_what_is_refused_is_given_up_and_the_rest_goes_on() -> None:
    server, troubles = Server(), []
    delivery = make(server, troubles, most=1)
    for item in ("bad", "good"):
        delivery.put("a", item)
    assert delivery.close(10) == 1
    assert server.taken == [("a", ["good"])]
    assert troubles == ["refused"]


def test_a_server_that_stays_away_is_tried_once_more_and_then_left() -> None:
    """Far less time than the queue would take: 50 items, each a failure and a pause."""
    server, troubles = Server(), []
    server.away = 10**6
    delivery = make(server, troubles, most=1)
    for item in range(50):
        delivery.put("a", item)
    assert delivery.close(10) == 50
    assert not delivery._thread.is_alive()


def test_a_server_that_does_not_answer_is_waited_for_so_long_and_no_longer() -> None:
    server, troubles = Server(), []
    server.held.clear()
    delivery = make(server, troubles)
    delivery.put("a", 1)
    start = time.monotonic()
    assert delivery.close(0.05) == 1
    assert time.monotonic() - start < 5
    server.held.set()
