"""Work in parallel: order, and no more threads than cores."""

from __future__ import annotations

import threading

from sentinel_match.parallel import in_threads


def test_results_come_in_the_order_of_the_items() -> None:
    assert list(in_threads(lambda k: k * k, range(20), workers=4)) == [k * k for k in range(20)]


def test_work_inside_work_stays_on_the_thread_of_its_worker() -> None:
    def outer(_: int) -> set[int]:
        return {threading.get_ident(), *in_threads(lambda _: threading.get_ident(), range(8), workers=4)}

    assert all(len(threads) == 1 for threads in in_threads(outer, range(4), workers=2))


def test_a_single_item_leaves_the_cores_to_its_pieces() -> None:
    barrier = threading.Barrier(2, timeout=20)

    def outer(_: int) -> list[int]:
        return list(in_threads(lambda _: barrier.wait(), range(2), workers=2))

    assert sorted(*in_threads(outer, range(1), workers=2)) == [0, 1]
