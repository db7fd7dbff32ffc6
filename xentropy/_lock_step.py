"""Tasks that proceed in lock step: what all of them wait for is computed at once.

SciPy's L-BFGS-B calls the function that it minimises. So that many minimisations can share an evaluation, each one runs
in a thread of its own and waits where it asks for a value. As soon as all wait, one computation answers all of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from operator import itemgetter
from threading import Condition, Semaphore, Thread, local
from typing import Any


class LockStep:
    """Tasks in threads, whose requests are answered together.

    The requests of a round come in the order of the tasks, and a round begins when every task has asked or ended. So
    results do not depend on how the threads are scheduled.

    Parameters
    ----------
    answer : callable
        Called with the list of all requests of a round, in the thread that has called `run`.
    n_at_once : int
        Tasks that have begun and not ended; the next one begins when one of them ends.
    n_running : int
        Tasks that compute at a time; the others wait.
    """

    def __init__(self, answer: Callable[[list[Any]], None], *, n_at_once: int, n_running: int = 1) -> None:
        self._answer, self._n_at_once = answer, n_at_once
        self._may_run, self._changed = Semaphore(n_running), Condition()
        self._n_computing = 0  # tasks that have neither asked nor ended
        self._asked: dict[int, tuple[Any, Semaphore]] = {}  # the request of a task, and what wakes it
        self._errors: dict[int, BaseException] = {}
        self._is_stopped = False
        self._here = local()

    def run(self, tasks: Sequence[Callable[[], None]]) -> None:
        """Run the tasks to their ends.

        If this is interrupted, or if a task raises an error, each `ask` of the tasks raises a KeyboardInterrupt. Then
        tasks that have not begun do not begin, and the interrupt or the error is raised here once the others have
        ended."""
        waiting, threads = deque(enumerate(tasks)), []
        try:
            while waiting or self._asked:
                begun = [waiting.popleft() for _ in range(min(len(waiting), self._n_at_once - len(self._asked)))]
                if begun:
                    with self._changed:
                        self._n_computing += len(begun)
                    for index, task in begun:
                        threads.append(Thread(target=self._work, args=(index, task), daemon=True))
                        threads[-1].start()
                else:
                    self._answer([request for _, (request, _) in sorted(self._asked.items(), key=itemgetter(0))])
                    self._wake()
                self._wait()
                if self._errors:
                    break
        finally:
            self._is_stopped = True
            while self._asked or self._n_computing:
                self._wake()
                self._wait()
            for thread in threads:
                thread.join()
        if self._errors:
            raise self._errors[min(self._errors)]

    def ask(self, request: Any) -> None:
        """Return once the request is answered: with those of the other tasks, or at once outside of a task."""
        index = getattr(self._here, "index", None)
        if index is None:
            self._answer([request])
            return
        if not self._is_stopped:
            woken = Semaphore(0)
            with self._changed:
                self._asked[index] = request, woken
                self._n_computing -= 1
                self._changed.notify()
            self._may_run.release()
            woken.acquire()
            self._may_run.acquire()
        if self._is_stopped:
            raise KeyboardInterrupt

    def _work(self, index: int, task: Callable[[], None]) -> None:
        self._here.index = index
        try:
            with self._may_run:
                task()
        except BaseException as error:
            if not self._is_stopped:
                self._errors[index] = error
        finally:
            with self._changed:
                self._n_computing -= 1
                self._changed.notify()

    def _wait(self) -> None:
        """Wait until each task has asked or ended."""
        with self._changed:
            self._changed.wait_for(lambda: not self._n_computing)

    def _wake(self) -> None:
        """Let the tasks that have asked go on."""
        with self._changed:
            answered, self._asked = self._asked, {}
            self._n_computing += len(answered)
        for _, woken in answered.values():
            woken.release()
