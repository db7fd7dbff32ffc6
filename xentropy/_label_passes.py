"""Passes over X that evaluate many labels at once, for minimisations in lock step.

A design of one label asks for its loss and gradient as if it had a `LinearPass` of its own. What it has instead turns
the call into a request, and the requests of all labels that wait are answered by one reading of X.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ._design import Design
from ._indicator import Indicator
from ._kernels._linear import LinearPass


@dataclass
class Request:
    """The arguments of a `LinearPass.loss_gradient` for one label, and its answer."""

    passes: LabelPasses
    precision: str
    label: int
    weights: tuple[float, float]
    shift: np.ndarray | None
    coef: np.ndarray
    intercept: np.ndarray
    grad_coef: np.ndarray
    grad_intercept: np.ndarray
    value: float = np.nan


class LabelPasses:
    """Passes over the rows of a design that evaluate several labels at once.

    Parameters
    ----------
    design : Design
        Its target is not used.
    indicator : Indicator
    n_outputs : int
        Labels that are at work.
    ask : callable
        Returns once `evaluate` has answered a request.
    """

    def __init__(
        self, design: Design, indicator: Indicator, n_outputs: int, ask: Callable[[Request], None]
    ) -> None:
        self.n_outputs, self.ask = n_outputs, ask
        self._design, self._indicator = design, indicator
        self._made: dict[str, tuple[LinearPass, float]] = {}
        self._selected: dict[str, list[tuple[int, tuple[float, float]]]] = {}

    def of(self, label: int) -> _PassesOfLabel:
        """The passes as one label sees them."""
        return _PassesOfLabel(self, label)

    def evaluate(self, precision: str, requests: Sequence[Request]) -> None:
        """Answer requests of different labels, from one reading of X."""
        made, unit = self._pass(precision)
        wanted = [(r.label, r.weights) for r in requests]
        if self._selected.get(precision) != wanted:
            weights = np.array([r.weights for r in requests]).T / unit
            made.select(np.array([r.label for r in requests]), weights[1].copy(), weights[0].copy())
            self._selected[precision] = wanted
        coef = np.hstack([r.coef for r in requests])
        intercept = np.concatenate([r.intercept for r in requests])
        moved = [self._moved(r) for r in requests]  # the centre of a label less that of the pass
        for k, by in enumerate(moved):
            if by is not None:
                intercept[k] -= by @ coef[:, k]
        grad_coef, grad_intercept, loss = np.empty_like(coef), np.empty_like(intercept), np.empty(len(requests))
        made.loss_gradient(coef, intercept, grad_coef, grad_intercept, self._design.n_threads, label_loss=loss)
        for k, r in enumerate(requests):
            r.value = float(loss[k])
            r.grad_intercept[0] = grad_intercept[k]
            r.grad_coef[:, 0] = grad_coef[:, k]
            if moved[k] is not None:
                r.grad_coef[:, 0] -= grad_intercept[k] * moved[k]

    def _pass(self, precision: str) -> tuple[LinearPass, float]:
        if precision not in self._made:
            self._made[precision] = self._design.pass_of_labels(self._indicator.values, precision)
        return self._made[precision]

    def _moved(self, request: Request) -> np.ndarray | None:
        own, common = request.shift, self._design.shift
        if own is None or common is None:
            return own if common is None else -common
        return None if own is common else own - common


class _PassesOfLabel:
    """The `SharedPasses` of one label."""

    def __init__(self, passes: LabelPasses, label: int) -> None:
        self._passes, self._label = passes, label
        self.n_outputs = passes.n_outputs

    def new(
        self, precision: str, *, shift: np.ndarray | None, class_weight: np.ndarray | None, scale: float
    ) -> _PassOfLabel:
        negative, positive = (1.0, 1.0) if class_weight is None else class_weight.tolist()
        return _PassOfLabel(self._passes, precision, self._label, (negative * scale, positive * scale), shift)


class _PassOfLabel:
    """A pass of one label, with the method of a `LinearPass`."""

    def __init__(
        self,
        passes: LabelPasses,
        precision: str,
        label: int,
        weights: tuple[float, float],
        shift: np.ndarray | None,
    ) -> None:
        self._passes, self._precision, self._label = passes, precision, label
        self._weights, self._shift = weights, shift

    def loss_gradient(
        self,
        coef: np.ndarray,
        intercept: np.ndarray,
        grad_coef: np.ndarray,
        grad_intercept: np.ndarray,
        n_threads: int = 1,
    ) -> float:
        """The loss of the label; its gradient is written to `grad_coef` and `grad_intercept`."""
        request = Request(
            self._passes, self._precision, self._label, self._weights, self._shift,
            coef, intercept, grad_coef, grad_intercept,
        )  # fmt: skip
        self._passes.ask(request)
        return request.value


def answer(requests: list[Request]) -> None:
    """Answer the requests of a round: those of one kind in one pass."""
    kinds: dict[tuple[int, str], list[Request]] = {}
    for request in requests:
        kinds.setdefault((id(request.passes), request.precision), []).append(request)
    for (_, precision), alike in kinds.items():
        alike[0].passes.evaluate(precision, alike)
