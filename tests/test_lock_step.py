"""Tasks in lock step: their requests come in rounds, in the order of the tasks, whoever runs first."""

import threading
from time import sleep

import pytest

from xentropy._lock_step import LockStep


class Recorder:
    """Answers requests, which are lists, by appending their place in the round."""

    def __init__(self):
        self.rounds = []

    def __call__(self, requests):
        self.rounds.append([request[0] for request in requests])
        for place, request in enumerate(requests):
            request.append(place)


def tasks_that_ask(steps, counts, results):
    def task(index):
        def run():
            for _ in range(counts[index]):
                sleep(0.001 * (index % 3))
                request = [index]
                steps.ask(request)
                results.append((index, request[1]))

        return run

    return [task(index) for index in range(len(counts))]


@pytest.mark.parametrize("n_running", [1, 4])
def test_rounds(n_running):
    answer, results = Recorder(), []
    steps = LockStep(answer, n_at_once=3, n_running=n_running)
    steps.run(tasks_that_ask(steps, [1, 3, 0, 2, 1], results))
    assert answer.rounds == [[0, 1], [1, 3, 4], [1, 3]] or answer.rounds == [[0, 1, 3], [1, 3, 4], [1]]
    assert sorted(index for index, _ in results) == [0, 1, 1, 1, 3, 3, 4]


def test_no_tasks_and_no_requests():
    answer = Recorder()
    LockStep(answer, n_at_once=2).run([])
    done = []
    LockStep(answer, n_at_once=2).run([lambda k=k: done.append(k) for k in range(7)])
    assert sorted(done) == list(range(7))
    assert answer.rounds == []


def test_outside_of_a_task_a_request_is_answered_at_once():
    steps, request = LockStep(Recorder(), n_at_once=1), [5]
    steps.ask(request)
    assert request == [5, 0]


def test_no_more_than_n_at_once():
    answer, results = Recorder(), []
    steps = LockStep(answer, n_at_once=2)
    steps.run(tasks_that_ask(steps, [4, 1, 2, 1, 3], results))
    assert max(map(len, answer.rounds)) == 2


def test_an_error_ends_the_others_and_is_raised():
    steps, ended = LockStep(Recorder(), n_at_once=3), []

    def fails():
        steps.ask([0])
        raise ZeroDivisionError

    def waits():
        try:
            while True:
                steps.ask([1])
        finally:
            ended.append(True)

    with pytest.raises(ZeroDivisionError):
        steps.run([waits, fails, waits, waits])
    assert ended == [True, True]  # the last one never began
    assert not [t for t in threading.enumerate() if t.name.startswith("lock step")]


def test_an_interrupt_reaches_the_tasks():
    caught = []

    def answer(requests):
        raise KeyboardInterrupt

    def task():
        try:
            steps.ask([0])
        except KeyboardInterrupt:
            caught.append(True)

    steps = LockStep(answer, n_at_once=2)
    with pytest.raises(KeyboardInterrupt):
        steps.run([task, task])
    assert caught == [True, True]
