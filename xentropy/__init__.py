"""Cross-entropy loss, done right: exact kernels, and what scikit-learn's users need around them."""

from importlib.metadata import version as _version

from ._classifier import SoftmaxClassifier
from ._classifier_cv import SoftmaxClassifierCV
from ._metrics import log_loss, log_loss_samples, make_log_loss_scorer, neg_log_loss_scorer

__version__ = _version("xentropy")

__all__ = [
    "SoftmaxClassifier",
    "SoftmaxClassifierCV",
    "log_loss",
    "log_loss_samples",
    "make_log_loss_scorer",
    "neg_log_loss_scorer",
]
