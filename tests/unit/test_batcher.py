"""The batcher's promises, with a model that the test holds by the hand."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from service.engine.batcher import Batcher, BatchLimits
from service.errors import DeadlineExceeded, InferenceFailed, Overloaded, ShuttingDown
from tests.clock import joined_without_waiting

PATIENCE_S = 20.0
Batch = NDArray[np.uint8]


class HeldModel:
    """Runs only while `go` is set; remembers the batches it saw; fails on images of value 13."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.entered = threading.Semaphore(0)
        self.batches: list[list[int]] = []

    def __call__(self, batch: Batch) -> Batch:
        self.entered.release()
        assert self.go.wait(PATIENCE_S)
        values = [int(image[0, 0, 0]) for image in batch]
        self.batches.append(values)
        if 13 in values:
            raise ValueError("unlucky")
        return batch


@pytest.fixture
def model() -> Iterator[HeldModel]:
    held = HeldModel()
    yield held
    held.go.set()


def image(value: int, height: int = 4, width: int = 4) -> Batch:
    return np.full((height, width, 3), value, np.uint8)


def test_a_lone_image_runs_alone_and_at_once(model: HeldModel) -> None:
    model.go.set()
    batcher = Batcher(model, BatchLimits(max_batch=8, max_wait_s=PATIENCE_S))
    answer = batcher.submit(image(5)).result(PATIENCE_S / 2)  # would time out if it waited for company
    assert answer.batch == 1
    assert answer.image[0, 0, 0] == 5
    batcher.close(PATIENCE_S)


def test_images_that_met_a_busy_model_share_a_run_up_to_the_limit(model: HeldModel) -> None:
    batcher = Batcher(model, BatchLimits(max_batch=3, max_wait_s=0.01))
    futures = [batcher.submit(image(0))]
    assert model.entered.acquire(timeout=PATIENCE_S)
    futures += [batcher.submit(image(value)) for value in (1, 2, 3, 4)]
    model.go.set()
    assert [f.result(PATIENCE_S).image[0, 0, 0] for f in futures] == [0, 1, 2, 3, 4]
    assert model.batches == [[0], [1, 2, 3], [4]]
    batcher.close(PATIENCE_S)


def test_images_of_different_shapes_never_share_a_run(model: HeldModel) -> None:
    batcher = Batcher(model, BatchLimits(max_batch=8, max_wait_s=0.01))
    futures = [batcher.submit(image(0))]
    assert model.entered.acquire(timeout=PATIENCE_S)
    futures += [batcher.submit(image(1)), batcher.submit(image(2, height=8)), batcher.submit(image(3))]
    model.go.set()
    for future in futures:
        future.result(PATIENCE_S)
    assert model.batches == [[0], [1, 3], [2]]
    batcher.close(PATIENCE_S)


def test_a_failing_image_fails_alone_and_its_mates_run_again_without_it(model: HeldModel) -> None:
    batcher = Batcher(model, BatchLimits(max_batch=8, max_wait_s=0.01))
    first = batcher.submit(image(0))
    assert model.entered.acquire(timeout=PATIENCE_S)
    mates = [batcher.submit(image(value)) for value in (1, 13, 2)]
    model.go.set()
    assert first.result(PATIENCE_S).image[0, 0, 0] == 0
    assert mates[0].result(PATIENCE_S).image[0, 0, 0] == 1
    assert mates[2].result(PATIENCE_S).image[0, 0, 0] == 2
    with pytest.raises(InferenceFailed) as caught:
        mates[1].result(PATIENCE_S)
    assert isinstance(caught.value.__cause__, ValueError)
    assert batcher.submit(image(7)).result(PATIENCE_S).image[0, 0, 0] == 7
    batcher.close(PATIENCE_S)


def test_a_cancelled_image_is_skipped_and_frees_its_place(model: HeldModel) -> None:
    batcher = Batcher(model, BatchLimits(capacity=1))
    running = batcher.submit(image(0))
    assert model.entered.acquire(timeout=PATIENCE_S)
    waiting = batcher.submit(image(1))
    assert waiting.cancel()
    after = batcher.submit(image(2))
    model.go.set()
    running.result(PATIENCE_S)
    after.result(PATIENCE_S)
    assert model.batches == [[0], [2]]
    batcher.close(PATIENCE_S)


def test_an_expired_image_is_never_run(model: HeldModel) -> None:
    batcher = Batcher(model, BatchLimits())
    running = batcher.submit(image(0))
    assert model.entered.acquire(timeout=PATIENCE_S)
    late = batcher.submit(image(1), deadline=time.monotonic() - 1)
    model.go.set()
    running.result(PATIENCE_S)
    with pytest.raises(DeadlineExceeded):
        late.result(PATIENCE_S)
    assert model.batches == [[0]]
    batcher.close(PATIENCE_S)


def test_a_full_queue_refuses(model: HeldModel) -> None:
    batcher = Batcher(model, BatchLimits(capacity=1))
    batcher.submit(image(0))
    assert model.entered.acquire(timeout=PATIENCE_S)
    batcher.submit(image(1))
    with pytest.raises(Overloaded):
        batcher.submit(image(2))
    model.go.set()
    batcher.close(PATIENCE_S)


def test_closing_waits_for_all_streams_together_no_longer_than_it_is_told(
    model: HeldModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    batcher = Batcher(model, BatchLimits(max_batch=1, streams=8))
    answers = [batcher.submit(image(value)) for value in range(8)]
    with monkeypatch.context() as patched:
        waited = joined_without_waiting(patched)
        batcher.close(0.4)
    assert waited == pytest.approx([0.4] + [0.0] * 7)
    model.go.set()
    assert all(answer.result(PATIENCE_S) for answer in answers)


def test_closing_finishes_what_was_accepted_and_takes_nothing_more(model: HeldModel) -> None:
    batcher = Batcher(model, BatchLimits(max_batch=2, max_wait_s=PATIENCE_S))
    accepted = [batcher.submit(image(value)) for value in range(4)]
    model.go.set()
    batcher.close(PATIENCE_S)
    assert [f.result(0).image[0, 0, 0] for f in accepted] == [0, 1, 2, 3]
    with pytest.raises(ShuttingDown):
        batcher.submit(image(9))


def test_several_streams_run_at_the_same_time(model: HeldModel) -> None:
    batcher = Batcher(model, BatchLimits(streams=2))
    futures = [batcher.submit(image(value)) for value in (1, 2)]
    assert model.entered.acquire(timeout=PATIENCE_S)
    assert model.entered.acquire(timeout=PATIENCE_S)  # the second entered while the first was held
    model.go.set()
    for future in futures:
        future.result(PATIENCE_S)
    batcher.close(PATIENCE_S)


def test_hammered_from_many_threads_every_image_gets_its_own_answer() -> None:
    batcher = Batcher(lambda batch: batch + np.uint8(1), BatchLimits(max_batch=4, max_wait_s=0.001, capacity=10_000))
    right: list[bool] = []

    def hammer(value: int) -> None:
        answers = (batcher.submit(image(value)).result(PATIENCE_S) for _ in range(50))
        right.extend(bool((answer.image == value + 1).all()) for answer in answers)

    threads = [threading.Thread(target=hammer, args=(value,)) for value in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert right == [True] * 400
    batcher.close(PATIENCE_S)
