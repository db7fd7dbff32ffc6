r"""The cross-entropy family: each loss is a function :math:`\phi` of :math:`\ell_k = -\log p_k`.

.. math:: L = \sum_k a_k\, \phi(\ell_k)

Here :math:`a_k` is the weighted and smoothed target. The formula of a loss and its name are in ``_kernels/phi.h``, its
parameters and what it is for are here, and its oracle is in ``tests/reference.py``. The table of docs/losses.md and the
tests derive from `LOSSES`.
"""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval

from ._messages import plain

__all__ = ["CrossEntropy", "FocalLoss", "GeneralizedCrossEntropy", "PolyLoss", "SymmetricCrossEntropy"]


class Loss(BaseEstimator):
    """A loss of the family: a name, parameters, a formula.

    The first paragraph of the docstring of each loss is its row in the table of docs/losses.md.
    """

    name: ClassVar[str]

    # Whether the loss is defined for one-hot targets only: no soft targets, no label smoothing.
    one_hot_only: ClassVar[bool] = False

    _parameter_constraints: dict[str, list[Any]] = {}  # noqa: RUF012 (scikit-learn's protocol)

    @property
    def convex(self) -> bool:
        """Whether the loss of a linear model is convex in its coefficients: then every minimum is the minimum."""
        raise NotImplementedError

    def kernel(self) -> tuple[str, tuple[float, ...]]:
        """The name of its formula in phi.h, and the parameters of that, which `check_loss` has validated."""
        raise NotImplementedError

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        """The expression that makes this loss, with all parameters."""
        parameters = ", ".join(f"{name}={plain(value)!r}" for name, value in self.get_params(deep=False).items())
        return f"{type(self).__name__}({parameters})"


class CrossEntropy(Loss):
    r"""Cross-entropy: :math:`\phi(\ell) = \ell = -\log p`. It has the best probabilities: start here. Convex.

    Examples
    --------
    >>> import xentropy as xe
    >>> xe.cross_entropy([0], [[2.0, 0.0]], loss=xe.CrossEntropy()) == xe.cross_entropy([0], [[2.0, 0.0]])
    True
    """

    name = "cross_entropy"

    @property
    def convex(self) -> bool:
        return True

    def kernel(self) -> tuple[str, tuple[float, ...]]:
        return "cross_entropy", ()


class FocalLoss(Loss):
    r"""Focal loss: :math:`\phi(\ell) = (1 - p)^\gamma\, \ell`. Easy rows weigh less. Convex for gamma = 0 only.

    For gamma = 0 it is the cross-entropy.

    Parameters
    ----------
    gamma : float, default=2.0
        Focusing parameter, 0 or more.

    References
    ----------
    Lin, Goyal, Girshick, He & Dollár (2017), Focal Loss for Dense Object Detection, arXiv:1708.02002, equation 4. Its
    :math:`\alpha_t` is a class weight.

    Examples
    --------
    >>> import xentropy as xe
    >>> xe.FocalLoss(gamma=0.5)
    FocalLoss(gamma=0.5)
    >>> round(xe.cross_entropy([0], [[2.0, 0.0]], loss=xe.FocalLoss(gamma=2.0)), 6)
    0.001804
    """

    name = "focal"

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012
        "gamma": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(self, gamma: float = 2.0) -> None:
        self.gamma = gamma

    @property
    def convex(self) -> bool:
        return self.gamma == 0

    def kernel(self) -> tuple[str, tuple[float, ...]]:
        return "focal", (float(self.gamma),)


class GeneralizedCrossEntropy(Loss):
    r"""Generalised cross-entropy: :math:`\phi(\ell) = (1 - p^q) / q`. It is robust to wrong labels. Not convex.

    It is bounded by 1/q, and runs from the cross-entropy (q -> 0) to the mean absolute error (q = 1).

    Parameters
    ----------
    q : float, default=0.7
        In (0, 1].

    References
    ----------
    Zhang & Sabuncu (2018), Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy Labels,
    arXiv:1805.07836, equation 6.

    Examples
    --------
    >>> import xentropy as xe
    >>> xe.cross_entropy([1], [[1000.0, 0.0]], loss=xe.GeneralizedCrossEntropy(q=0.5))
    2.0
    """

    name = "generalized"

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012
        "q": [Interval(Real, 0, 1, closed="right")],
    }

    def __init__(self, q: float = 0.7) -> None:
        self.q = q

    @property
    def convex(self) -> bool:
        return False

    def kernel(self) -> tuple[str, tuple[float, ...]]:
        return "generalized", (float(self.q),)


class PolyLoss(Loss):
    r"""Poly-1 loss: :math:`\phi(\ell) = \ell + \epsilon\, (1 - p)`. It can be tuned. Convex for -1 <= epsilon <= 1.

    It reweights the first term of the Taylor series of the cross-entropy in 1 - p.

    Parameters
    ----------
    epsilon : float, default=1.0
        -1 or more.

    References
    ----------
    Leng et al. (2022), PolyLoss: A Polynomial Expansion Perspective of Classification Loss Functions, arXiv:2204.12511,
    equation 5.

    Examples
    --------
    >>> import xentropy as xe
    >>> round(xe.cross_entropy([0], [[0.0, 0.0]], loss=xe.PolyLoss(epsilon=1.0)), 6)  # log 2 + 1/2
    1.193147
    """

    name = "poly"

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012
        "epsilon": [Interval(Real, -1, None, closed="left")],
    }

    def __init__(self, epsilon: float = 1.0) -> None:
        self.epsilon = epsilon

    @property
    def convex(self) -> bool:
        return abs(self.epsilon) <= 1

    def kernel(self) -> tuple[str, tuple[float, ...]]:
        return "blend", (1.0, float(self.epsilon))


class SymmetricCrossEntropy(Loss):
    r"""Symmetric cross-entropy: :math:`\phi(\ell) = \alpha\, \ell + 4 \beta\, (1 - p)`. It is robust to wrong labels.
    Convex for 4 beta <= alpha.

    The second term is the reverse cross-entropy :math:`-\sum_k p_k \log t_k` of a one-hot target t, with log 0 := -4.
    For a soft target that sum has another form, so targets must be one-hot: soft targets and label smoothing raise a
    ValueError.

    Parameters
    ----------
    alpha : float, default=0.1
        Weight of the cross-entropy, 0 or more.

    beta : float, default=1.0
        Weight of the reverse cross-entropy, 0 or more.

    References
    ----------
    Wang et al. (2019), Symmetric Cross Entropy for Robust Learning with Noisy Labels, arXiv:1908.06112, equations 5-7.

    Examples
    --------
    >>> import xentropy as xe
    >>> xe.cross_entropy([1], [[1000.0, 0.0]], loss=xe.SymmetricCrossEntropy(alpha=0.1, beta=1.0))
    104.0
    """

    name = "symmetric"
    one_hot_only = True

    log_zero: ClassVar[float] = -4.0

    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012
        "alpha": [Interval(Real, 0, None, closed="left")],
        "beta": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(self, alpha: float = 0.1, beta: float = 1.0) -> None:
        self.alpha = alpha
        self.beta = beta

    @property
    def convex(self) -> bool:
        return self.beta * abs(self.log_zero) <= self.alpha

    def kernel(self) -> tuple[str, tuple[float, ...]]:
        return "blend", (float(self.alpha), float(self.beta * abs(self.log_zero)))


LOSSES: dict[str, type[Loss]] = {loss.name: loss for loss in map(globals().__getitem__, __all__)}


def check_loss(loss: Any) -> Loss:
    """The loss object that `loss`, a name or such an object, stands for, its parameters validated."""
    if isinstance(loss, str) and loss in LOSSES:
        return LOSSES[loss]()
    if isinstance(loss, Loss):
        loss._validate_params()
        return loss
    if isinstance(loss, type) and issubclass(loss, Loss):
        raise ValueError(f"loss is the class {loss.__name__}; pass an object: loss={loss.__name__}()")
    names = ", ".join(repr(name) for name in LOSSES)
    raise ValueError(f"loss={plain(loss)!r} is no loss; pass one of {names}, or an object such as FocalLoss(gamma=2.0)")


def refuse_smoothing(loss: Loss, label_smoothing: float) -> None:
    """Raise if `loss` is for one-hot targets only and they would be smoothed."""
    if loss.one_hot_only and label_smoothing != 0.0:
        raise ValueError(f"{loss} is not defined for soft targets: label_smoothing={label_smoothing} must be 0")
