"""scikit-learn's estimator checks, as parameters of a test."""

import pytest
from sklearn.utils.estimator_checks import estimator_checks_generator


def each_check(estimator):
    """Parametrise a test by ``estimator, check``. scikit-learn 1.7's decorator gives pytest a generator, not a list."""
    checks = list(estimator_checks_generator(estimator))
    return pytest.mark.parametrize(
        ("estimator", "check"), checks, ids=lambda it: getattr(it, "func", type(it)).__name__
    )
