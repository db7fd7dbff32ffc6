"""Cross-entropy loss, done right: exact kernels, and what scikit-learn's users need around them."""

from importlib.metadata import version as _version

from ._classifier import SoftmaxClassifier

__version__ = _version("xentropy")

__all__ = ["SoftmaxClassifier"]
