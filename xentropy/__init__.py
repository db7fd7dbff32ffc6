"""Cross-entropy for scikit-learn: a softmax classifier, losses, metrics and reports, on compiled kernels."""

from importlib.metadata import version as _version

from . import _losses, _onnx
from ._binary_log_loss import binary_log_loss
from ._classifier import SoftmaxClassifier
from ._classifier_cv import SoftmaxClassifierCV
from ._config import show_config
from ._diagnostics.loss_by_class import LossByClassDisplay
from ._diagnostics.loss_curve import LossCurveDisplay
from ._diagnostics.reliability import ReliabilityDisplay
from ._diagnostics.report import cross_entropy_report
from ._functional import binary_cross_entropy, cross_entropy, linear_cross_entropy, log_softmax, softmax
from ._losses import *  # noqa: F403 (the names are those of _losses.__all__)
from ._metrics import log_loss, log_loss_samples, make_log_loss_scorer, neg_log_loss_scorer
from ._multilabel import MultilabelClassifier

__version__ = _version("xentropy")

_onnx.register()

__all__ = [
    "LossByClassDisplay",
    "LossCurveDisplay",
    "MultilabelClassifier",
    "ReliabilityDisplay",
    "SoftmaxClassifier",
    "SoftmaxClassifierCV",
    "binary_cross_entropy",
    "binary_log_loss",
    "cross_entropy",
    "cross_entropy_report",
    "linear_cross_entropy",
    "log_loss",
    "log_loss_samples",
    "log_softmax",
    "make_log_loss_scorer",
    "neg_log_loss_scorer",
    "show_config",
    "softmax",
]
__all__ += _losses.__all__
