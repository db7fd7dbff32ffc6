r"""The cross-entropy family: each loss is a function :math:`\phi` of :math:`\ell_k = -\log p_k`.

.. math:: L = \sum_k a_k\, \phi(\ell_k)

with :math:`a_k` the weighted and smoothed target. A loss has two homes: its formula in ``_kernels/phi.h``, its name and
parameters here. Whatever lists losses derives from `LOSSES`.
"""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval

from ._kernels import _pointwise as kernels


class Loss(BaseEstimator):
    """A loss of the family: a name, parameters, a formula."""

    name: ClassVar[str]

    # Whether its definition covers targets that name one class only: no soft targets, no label smoothing.
    one_hot_only: ClassVar[bool] = False

    _parameter_constraints: dict[str, list[Any]] = {}  # noqa: RUF012 (scikit-learn's protocol)

    @property
    def convex(self) -> bool:
        """Whether the loss of a linear model is convex in its coefficients: then every minimum is the minimum."""
        raise NotImplementedError

    def kernel(self) -> tuple[int, float, float]:
        """What the kernels know it by: its kind and two parameters. They are valid after `check_loss`."""
        raise NotImplementedError

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        """As it is written, parameters included."""
        parameters = ", ".join(f"{name}={value!r}" for name, value in self.get_params(deep=False).items())
        return f"{type(self).__name__}({parameters})"


class CrossEntropy(Loss):
    r"""Cross-entropy: :math:`\phi(\ell) = \ell = -\log p`. Convex.

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

    def kernel(self) -> tuple[int, float, float]:
        return kernels.CROSS_ENTROPY, 0.0, 0.0


class FocalLoss(Loss):
    r"""Focal loss: :math:`\phi(\ell) = (1 - p)^\gamma\, \ell`, which gives less weight to what is already right.

    Not convex for gamma > 0; for gamma = 0 it is the cross-entropy.

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

    def kernel(self) -> tuple[int, float, float]:
        return kernels.FOCAL, float(self.gamma), 0.0


class GeneralizedCrossEntropy(Loss):
    r"""Generalised cross-entropy: :math:`\phi(\ell) = (1 - p^q) / q`, bounded by 1/q, so robust to wrong labels.

    It runs from the cross-entropy (q -> 0) to the mean absolute error (q = 1). Not convex.

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

    def kernel(self) -> tuple[int, float, float]:
        return kernels.GENERALIZED, float(self.q), 0.0


class PolyLoss(Loss):
    r"""Poly-1 loss: :math:`\phi(\ell) = \ell + \epsilon\, (1 - p)`, the first term of the Taylor series reweighted.

    Convex for :math:`|\epsilon| \le 1`.

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

    def kernel(self) -> tuple[int, float, float]:
        return kernels.BLEND, 1.0, float(self.epsilon)


class SymmetricCrossEntropy(Loss):
    r"""Symmetric cross-entropy: :math:`\phi(\ell) = \alpha\, \ell + \beta\, |A|\, (1 - p)`, robust to wrong labels.

    The second term is the reverse cross-entropy :math:`-\sum_k p_k \log t_k` of a one-hot target t, with log 0 := A =
    -4. For a soft target that sum is another function, not of this form, so targets must be one-hot: soft targets and
    label smoothing raise a ValueError. Convex for :math:`\beta |A| \le \alpha`.

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

    def kernel(self) -> tuple[int, float, float]:
        return kernels.BLEND, float(self.alpha), float(self.beta * abs(self.log_zero))


LOSSES: dict[str, type[Loss]] = {
    loss.name: loss
    for loss in (CrossEntropy, FocalLoss, GeneralizedCrossEntropy, PolyLoss, SymmetricCrossEntropy)
}


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
    raise ValueError(f"loss={loss!r} is no loss; pass one of {names}, or an object such as FocalLoss(gamma=2.0)")


def refuse_smoothing(loss: Loss, label_smoothing: float) -> None:
    """Raise if `loss` is for one-hot targets only, and they would be smoothed."""
    if loss.one_hot_only and label_smoothing != 0.0:
        raise ValueError(f"{loss} is not defined for soft targets: label_smoothing={label_smoothing} must be 0")
