"""Converts the classifiers to ONNX, once skl2onnx is imported, be it before this package or after it."""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from typing import Any

from ._classifier import SoftmaxClassifier
from ._classifier_cv import SoftmaxClassifierCV


def register() -> None:
    """Register the converters with skl2onnx, or as soon as that is imported."""
    if "skl2onnx" in sys.modules:
        _register_now()
    else:
        sys.meta_path.insert(0, _RegistersOnImport())


class _RegistersOnImport(MetaPathFinder):
    """Finds skl2onnx as the other finders do, and registers the converters after its import."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != "skl2onnx":
            return None
        others = (finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec"))
        found = (finder.find_spec(name, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: Any) -> None:
                execute(module)
                _register_now()

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _register_now() -> None:
    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes

    choices = {name: [True, False] for name in ("nocl", "output_class_labels", "raw_scores")}
    for classifier in (SoftmaxClassifier, SoftmaxClassifierCV):
        update_registered_converter(
            classifier,
            f"Xentropy{classifier.__name__}",
            calculate_linear_classifier_output_shapes,
            _convert,
            options={"zipmap": [True, False, "columns"], **choices},
        )


def _convert(scope: Any, operator: Any, container: Any) -> None:
    """Convert the LogisticRegression with the same coefficients."""
    from skl2onnx.operator_converters.linear_classifier import convert_sklearn_linear_classifier

    ours = operator.raw_operator
    operator.raw_operator = peer = ours.to_sklearn()
    container.options = {**(container.options or {}), id(peer): container.get_options(ours)}
    convert_sklearn_linear_classifier(scope, operator, container)
    operator.raw_operator = ours
