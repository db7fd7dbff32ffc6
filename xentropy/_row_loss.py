"""The loss of one row, as far as it is the same for all rows, and what the rows weigh."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import frexp, isfinite, ldexp
from typing import Any

import numpy as np

from ._losses import CrossEntropy, Loss


@dataclass(frozen=True)
class RowLoss:
    """The loss of one row, as far as it is the same for all rows.

    Attributes
    ----------
    loss : Loss
    class_weight : float64 ndarray of shape (K,) or None
    label_smoothing : float
    offset : float64 ndarray of shape (R,) or None
        It is added to the logits of every row.
    """

    loss: Loss = field(default_factory=CrossEntropy)
    class_weight: np.ndarray | None = None
    label_smoothing: float = 0.0
    offset: np.ndarray | None = None


class Weighting:
    """What the rows weigh, class by class.

    Parameters
    ----------
    mass : float64 ndarray of shape (K,)
        The weight of each class in the targets.
    n_rows : int
    row_loss : RowLoss

    Attributes
    ----------
    weight_sum : float
        Sum of the weights of the rows.
    shares : float64 ndarray of shape (K,)
        Share of each class in the weighted and smoothed targets.
    scale : float
        A power of two. The rows weigh about one each if they are multiplied with it.
    """

    def __init__(self, mass: np.ndarray, n_rows: int, row_loss: RowLoss) -> None:
        class_weight, smoothing = row_loss.class_weight, row_loss.label_smoothing
        with np.errstate(over="ignore", invalid="ignore"):
            self.weight_sum = float(mass.sum() if class_weight is None else mass @ class_weight)
            target_mass = (1.0 - smoothing) * mass + smoothing / len(mass) * mass.sum()
            target_mass = target_mass if class_weight is None else target_mass * class_weight
            weight_sum = max(self.weight_sum, float(target_mass.sum())) if self.weight_sum else 0.0
        if weight_sum == 0.0 or not isfinite(weight_sum):
            first, second = ("divide", "multiply") if weight_sum else ("multiply", "divide")
            raise ValueError(
                f"sample_weight times class_weight sums to {weight_sum}: {first} the weights by a number, and {second} "
                f"C by it"
            )
        with np.errstate(over="ignore"):
            is_ratio = isfinite(target_mass.sum() / np.float64(self.weight_sum))
        if not is_ratio:
            raise ValueError(
                f"label_smoothing gives classes a weight of {target_mass.sum()}, but sample_weight times class_weight "
                f"sums to {self.weight_sum}, and their ratio overflows: use label_smoothing=0.0, or other weights"
            )
        # The kernels drop gradients of next to no weight, and float32 cannot hold each weight of a class. Powers of two
        # change no other digit.
        self._class_weight = None if class_weight is None else np.where(target_mass > 0.0, class_weight, 0.0)
        self._unit = 0 if self._class_weight is None else frexp(self._class_weight.max())[1]
        self.scale = ldexp(1.0, min(1023 - max(0, self._unit), n_rows.bit_length() - frexp(self.weight_sum)[1]))
        self.shares = target_mass / target_mass.sum()

    def pass_options(self) -> dict[str, Any]:
        """What a `LinearPass` must be told of it for a sum of the losses times `scale`."""
        class_weight = self._class_weight
        return {
            "class_weight": None if class_weight is None else np.ldexp(class_weight, -self._unit),
            "scale": ldexp(self.scale, self._unit),
        }
