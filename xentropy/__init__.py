"""Cross-entropy for scikit-learn: a softmax classifier, losses, metrics and reports, on compiled kernels."""

from importlib.metadata import version as _version

from . import _losses, _onnx
from ._binary_log_loss import binary_log_loss
from ._classifier import SoftmaxClassifier
from ._classifier_cv import SoftmaxClassifierCV
from ._coefficients import coefficient_table, marginal_effects
from ._config import show_config
from ._diagnostics.coefficients import CoefficientDisplay
from ._diagnostics.loss_by_class import LossByClassDisplay
from ._diagnostics.loss_curve import LossCurveDisplay
from ._diagnostics.reliability import ReliabilityDisplay
from ._diagnostics.report import cross_entropy_report
from ._functional import binary_cross_entropy, cross_entropy, linear_cross_entropy, log_softmax, softmax
from ._leave_one_out import leave_one_out
from ._losses import *  # noqa: F403 (the names are those of _losses.__all__)
from ._metrics import log_loss, log_loss_samples, make_log_loss_scorer, neg_log_loss_scorer
from ._multilabel import MultilabelClassifier
from ._row_blocks import RowBlocks

__version__ = _version("xentropy")

_onnx.register()

__all__ = [
    "CoefficientDisplay",
    "LossByClassDisplay",
    "LossCurveDisplay",
    "MultilabelClassifier",
    "ReliabilityDisplay",
    "RowBlocks",
    "SoftmaxClassifier",
    "SoftmaxClassifierCV",
    "binary_cross_entropy",
    "binary_log_loss",
    "coefficient_table",
    "cross_entropy",
    "cross_entropy_report",
    "leave_one_out",
    "linear_cross_entropy",
    "log_loss",
    "log_loss_samples",
    "log_softmax",
    "make_log_loss_scorer",
    "marginal_effects",
    "neg_log_loss_scorer",
    "show_config",
    "softmax",
]
__all__ += _losses.__all__
