"""Preconditioners against the Cholesky factors of the matrices that they are made of."""

import numpy as np
import pytest

from xentropy._preconditioner import Diagonal, factored, factored_by_class


def upper(matrix):
    """What is below the diagonal is not read."""
    return np.triu(matrix) + np.tril(np.full(matrix.shape, np.nan), -1)


@pytest.mark.parametrize("kind", ["diagonal", "dense"])
@pytest.mark.parametrize("r", [1, 3])
def test_all_columns_change_by_one_factor(r, kind):
    rng = np.random.default_rng(1)
    B = rng.standard_normal((4, 4))
    A = B @ B.T + np.eye(4)
    preconditioner = Diagonal(A.diagonal()) if kind == "diagonal" else factored(upper(A), r)
    L = np.linalg.cholesky(np.diag(A.diagonal()) if kind == "diagonal" else A)
    theta = rng.standard_normal(4 * r)
    np.testing.assert_allclose(preconditioner.to_x(theta), (L.T @ theta.reshape(4, r)).ravel())
    np.testing.assert_allclose(preconditioner.to_theta(preconditioner.to_x(theta)), theta)
    np.testing.assert_allclose(preconditioner.to_gradient(theta), np.linalg.solve(L, theta.reshape(4, r)).ravel())


@pytest.mark.parametrize("unit", [1.0, 1e-60])
def test_a_factor_for_each_class_leaves_what_classes_share_alone(unit):
    rng = np.random.default_rng(1)
    K, m = 3, 4
    B = rng.standard_normal((K, m, m))
    units = np.array([1.0, unit, 1.0, 1.0 / unit])  # of the features
    A = (B @ B.transpose(0, 2, 1) + np.eye(m)) * units * units[:, None]
    L, preconditioner = np.linalg.cholesky(A), factored_by_class(np.array([upper(matrix) for matrix in A]))
    theta, grad = rng.standard_normal((2, m, K))
    theta, grad = (part - part.mean(axis=1, keepdims=True) for part in (theta, grad))
    theta, grad = theta / units[:, None], grad * units[:, None]
    x = np.stack([L[k].T @ theta[:, k] for k in range(K)], axis=1).ravel()
    np.testing.assert_allclose(preconditioner.to_x(theta.ravel()), x, rtol=1e-12)
    back = preconditioner.to_theta(x).reshape(m, K)
    np.testing.assert_allclose(back * units[:, None], theta * units[:, None], rtol=1e-12)
    expected = np.stack([np.linalg.solve(L[k], grad[:, k]) for k in range(K)], axis=1).ravel()
    np.testing.assert_allclose(preconditioner.to_gradient(grad.ravel()), expected, rtol=1e-12)
    other = rng.standard_normal(m * K)
    shared = preconditioner.to_theta(other).reshape(m, K).sum(axis=1)
    np.testing.assert_allclose(shared * units, 0.0, atol=1e-14)
    # to_gradient is the transpose of to_theta, for gradients that sum to zero over the classes: to all digits, or a
    # line search would not find what the gradient promises
    np.testing.assert_allclose(
        preconditioner.to_theta(other) @ grad.ravel(), other @ preconditioner.to_gradient(grad.ravel())
    )


def test_the_diagonal_stands_in_for_a_matrix_that_is_not_positive_definite():
    preconditioner = factored(np.array([[4.0, 9.0], [9.0, 1.0]]))
    np.testing.assert_allclose(preconditioner.to_x(np.ones(2)), [2.0, 1.0])
    classes = np.array([np.eye(2), [[4.0, 9.0], [9.0, 1.0]]])
    np.testing.assert_allclose(factored_by_class(classes).to_x(np.ones(4)), [1.0, 2.0, 1.0, 1.0])
