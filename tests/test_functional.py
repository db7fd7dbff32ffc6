import inspect
import tracemalloc
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from reference import ExactLoss, central_difference, log_softmax, one_hot, smoothed
from sklearn.datasets import load_digits

import xentropy as xe
from xentropy import _functional

DTYPES = [np.float32, np.float64]
INTEGERS = [np.bool_, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64, np.longlong]
RTOL = {np.float32: 4e-6, np.float64: 1e-13}
SCALES = [1, 3, 10, 30, 100, 300]

both = pytest.mark.parametrize("dtype", DTYPES)


def problem(n=40, n_classes=5, scale=2.0, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, n_classes, n), (scale * rng.standard_normal((n, n_classes))).astype(dtype), rng


def naive(y, z, *, s=1.0, w=1.0, eps=0.0):
    """The row losses for a distribution y, in extended precision."""
    return np.asarray((s * (w * smoothed(y, eps) * -log_softmax(z)).sum(axis=1)), dtype=float)


# accuracy


@both
@pytest.mark.parametrize("scale", SCALES)
def test_loss_and_target_gradient_are_accurate(dtype, scale):
    y, z, _ = problem(n=24, scale=scale, dtype=dtype, seed=scale)
    y[::2] = z.argmax(axis=1)[::2]  # correct rows, whose losses reach 1e-300 and below
    loss, grad = xe.cross_entropy(y, z, reduction="none", return_grad=True)
    for row, label, found, g in zip(z, y, loss, grad, strict=True):
        exact = ExactLoss(xe.CrossEntropy(), one_hot([label], 5)[0])
        np.testing.assert_allclose(found, exact.value(row), rtol=RTOL[dtype], atol=1e-307)
        expected = exact.slope(row, one_hot([label], 5)[0])
        np.testing.assert_allclose(g[label], expected, rtol=RTOL[dtype], atol=np.finfo(dtype).tiny)


@both
@pytest.mark.parametrize("scale", SCALES)
def test_binary_loss_and_gradient_are_accurate(dtype, scale):
    rng = np.random.default_rng(scale)
    z = (scale * rng.standard_normal(30)).astype(dtype)
    y = np.where(rng.random(30) < 0.5, z > 0, rng.random(30)).astype(dtype)
    loss, grad = xe.binary_cross_entropy(y, z, reduction="none", return_grad=True)
    for zi, yi, found, g in zip(z, y, loss, grad, strict=True):
        exact = ExactLoss(xe.CrossEntropy(), [1 - yi, yi])
        np.testing.assert_allclose(found, exact.value([0, zi]), rtol=RTOL[dtype], atol=1e-307)
        expected = exact.slope([0, zi], [0, 1])
        if yi in (0, 1) or abs(expected) > 1e-3:  # a soft target can equal its probability, where the gradient is 0
            np.testing.assert_allclose(g, expected, rtol=RTOL[dtype], atol=np.finfo(dtype).tiny)


def test_no_loss_is_zero_where_float32_libraries_give_zero():
    torch = pytest.importorskip("torch")
    y, z, _ = problem(n=2000, n_classes=10, scale=40, dtype=np.float32)
    y = np.where(np.arange(2000) % 2, y, z.argmax(axis=1))
    theirs = torch.nn.functional.cross_entropy(torch.tensor(z), torch.tensor(y), reduction="none").numpy()
    ours, grad = xe.cross_entropy(y, z, reduction="none", return_grad=True)
    assert np.mean(theirs == 0) > 0.2
    assert np.all(ours > 0)
    exact = [ExactLoss(xe.CrossEntropy(), one_hot([k], 10)[0]).value(row) for k, row in zip(y[:9], z[:9], strict=True)]
    np.testing.assert_allclose(ours[:9], exact, rtol=4e-6)
    g = grad[np.arange(2000), y].astype(float)
    assert np.all((g < 0) | (ours < np.finfo(np.float32).tiny))


@both
def test_rows_of_the_gradient_sum_to_zero(dtype):
    y, z, _ = problem(n=200, scale=20, dtype=dtype)
    grad = xe.cross_entropy(y, z, reduction="sum", return_grad=True)[1].astype(float)
    assert np.max(np.abs(grad.sum(axis=1)) / np.abs(grad).max(axis=1)) < 8 * np.finfo(dtype).eps


def test_float32_sums_are_float64():
    y, z, _ = problem(n=300_000, n_classes=2, dtype=np.float32)
    expected = naive(one_hot(y, 2), z).sum()
    assert xe.cross_entropy(y, z, reduction="sum") == pytest.approx(expected, rel=1e-8)


# edge cases


@both
def test_large_logits_do_not_overflow(dtype):
    z = np.array([[1e4, -1e4], [-1e4, 1e4]], dtype)
    value, grad = xe.cross_entropy([1, 0], z, return_grad=True, reduction="sum")
    assert value == 40000
    np.testing.assert_array_equal(grad, [[1, -1], [-1, 1]])


@both
def test_common_offset(dtype):
    assert xe.cross_entropy([0], np.array([[1e8, 1e8]], dtype)) == pytest.approx(np.log(2), rel=1e-7)


@both
def test_a_confident_row_keeps_its_digits(dtype):
    value, grad = xe.cross_entropy([0], np.array([[20, 0]], dtype), return_grad=True)
    assert value == pytest.approx(2.0611536203143808e-09, rel=1e-6)
    assert grad.sum() == 0
    assert grad[0, 0] == pytest.approx(-value, rel=1e-6)


def as_target(kind, label, n_classes):
    return {"int": [label], "one-hot": one_hot([label], n_classes), "soft": [[0.25, 0.0, 0.75]]}[kind]


@both
@pytest.mark.parametrize("kind", ["int", "one-hot", "soft"])
def test_masked_class_that_nobody_asks_for(dtype, kind):
    z = np.array([[1.0, -np.inf, 2.0]], dtype)
    value, grad = xe.cross_entropy(as_target(kind, 2, 3), z, return_grad=True)
    others = z[:, [0, 2]]
    expected, grad_others = xe.cross_entropy([[0.25, 0.75]] if kind == "soft" else [1], others, return_grad=True)
    assert value == pytest.approx(expected, rel=1e-14)
    assert grad[0, 1] == 0
    np.testing.assert_allclose(grad[:, [0, 2]], grad_others, rtol=1e-6)


@both
@pytest.mark.parametrize("kind", ["int", "one-hot", "soft"])
def test_smoothing_mass_goes_to_the_unmasked_classes(dtype, kind):
    z = np.array([[1.0, -np.inf, 2.0]], dtype)
    target = as_target(kind, 2, 3)
    value, grad = xe.cross_entropy(target, z, label_smoothing=0.3, return_grad=True)
    t = 0.7 * (one_hot([2], 3)[0] if kind != "soft" else np.array([0.25, 0, 0.75])) + np.array([0.15, 0, 0.15])
    p = np.exp(z[0].astype(float)) / np.exp(z[0].astype(float)).sum()
    assert value == pytest.approx(-(t[[0, 2]] * np.log(p[[0, 2]])).sum(), rel=1e-7)
    np.testing.assert_allclose(grad[0], p - t, atol=1e-7)
    assert grad[0, 1] == 0


@both
@pytest.mark.parametrize("kind", ["int", "one-hot"])
@pytest.mark.parametrize("eps", [0.0, 0.1])
def test_masked_target(dtype, kind, eps):
    z = np.array([[0.0, -np.inf, 1.0]], dtype)
    value, grad = xe.cross_entropy(as_target(kind, 1, 3), z, label_smoothing=eps, return_grad=True)
    assert value == np.inf
    p = np.exp(z[0].astype(float)) / np.exp(z[0].astype(float)).sum()
    np.testing.assert_allclose(grad[0], p - np.array([eps / 2, 1 - eps, eps / 2]), rtol=1e-6)


@both
@pytest.mark.parametrize("row", [[-np.inf] * 3, [np.nan, 0, 0], [0, 0, np.nan], [np.inf, 0, 0], [0, np.inf, np.inf]])
@pytest.mark.parametrize("kind", ["int", "one-hot", "soft"])
@pytest.mark.parametrize("eps", [0.0, 0.1])
def test_a_row_without_a_distribution_is_nan(dtype, row, kind, eps):
    z = np.array([row, [1, 2, 3]], dtype)
    target = np.repeat(as_target(kind, 0, 3), 2, axis=0)
    value, grad = xe.cross_entropy(target, z, label_smoothing=eps, reduction="none", return_grad=True)
    assert np.isnan(value[0])
    assert np.isnan(grad[0]).all()
    assert np.isfinite(value[1])
    assert np.isfinite(grad[1]).all()
    assert np.isnan(xe.cross_entropy(target, z))
    assert np.isnan(xe.softmax(z)[0]).all()
    assert np.isnan(xe.log_softmax(z)[0]).all()


@both
@pytest.mark.parametrize("junk", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_ignored_rows_count_for_nothing(dtype, junk, reduction):
    y, z, rng = problem(dtype=dtype)
    keep = rng.random(len(y)) < 0.6
    expected, grad_kept = xe.cross_entropy(y[keep], z[keep], reduction=reduction, return_grad=True)
    z[~keep] = junk
    padded = np.where(keep, y, -100)
    soft = one_hot(y, 5)
    soft[~keep] = np.nan
    for target, options in [
        (padded, {"ignore_index": -100}),
        (padded, {"sample_weight": keep.astype(float)}),
        (np.where(keep, y, np.nan), {"sample_weight": keep.astype(float)}),
        (soft, {"sample_weight": keep.astype(float)}),
    ]:
        value, grad = xe.cross_entropy(target, z, reduction=reduction, return_grad=True, **options)
        np.testing.assert_allclose(value if reduction != "none" else value[keep], expected, rtol=2 * RTOL[dtype])
        np.testing.assert_allclose(grad[keep], grad_kept, rtol=1e-6)
        assert np.all(grad[~keep] == 0)
        if reduction == "none":
            assert np.all(value[~keep] == 0)


def test_ignore_index_inside_the_classes():
    y, z, _ = problem()
    assert xe.cross_entropy(y, z, ignore_index=2) == pytest.approx(xe.cross_entropy(y[y != 2], z[y != 2]), rel=1e-14)


@both
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_everything_ignored(dtype, reduction):
    z = np.full((3, 4), np.nan, dtype)
    for options in [{"ignore_index": 0}, {"sample_weight": np.zeros(3)}]:
        value, grad = xe.cross_entropy([0, 0, 0], z, reduction=reduction, return_grad=True, **options)
        assert value == 0.0
        np.testing.assert_array_equal(grad, np.zeros((3, 4)))
    value, grad = xe.binary_cross_entropy(z, z, sample_weight=np.zeros(3), reduction=reduction, return_grad=True)
    assert value == 0.0
    np.testing.assert_array_equal(grad, np.zeros((3, 4)))


@both
@pytest.mark.parametrize("weighted", [False, True])
def test_a_binary_element_does_not_depend_on_its_neighbours(dtype, weighted):
    rng = np.random.default_rng(0)
    z = np.concatenate([rng.normal(size=90), [-np.inf, 200, -200, 80, -80, 70, -70, np.inf, 0, -0.0]]).astype(dtype)
    rng.shuffle(z)
    y = rng.choice([0, 0.25, 1], size=z.size).astype(dtype)
    s = rng.choice([0, 0.5, 2], size=z.size) if weighted else np.ones(z.size)
    options = {"reduction": "none", "return_grad": True}
    loss, grad = xe.binary_cross_entropy(y, z, sample_weight=s if weighted else None, **options)
    for i in range(z.size):
        one = slice(i, i + 1)
        alone = xe.binary_cross_entropy(y[one], z[one], sample_weight=s[one] if weighted else None, **options)
        np.testing.assert_array_equal(alone, [loss[one], grad[one]])
    with np.errstate(over="ignore"):
        wide = z.astype(float)
        small = np.exp(-np.abs(wide))
        soft = s * np.log1p(small)
    hard = (y == (z > 0)) & (s > 0) & np.isfinite(z)
    np.testing.assert_allclose(loss[hard], soft[hard], rtol=4e-6 if dtype == np.float32 else 1e-14)
    assert np.all(loss[hard] > 0)
    for n in 1, 31, 32, 33, 63, 64, 65:
        np.testing.assert_array_equal(
            xe.binary_cross_entropy(y[:n], z[:n], sample_weight=s[:n] if weighted else None, **options),
            [loss[:n], grad[:n]],
        )


@both
def test_infinite_binary_logits(dtype):
    z = np.array([np.inf, -np.inf, np.inf, -np.inf], dtype)
    value, grad = xe.binary_cross_entropy([1, 0, 0, 1], z, reduction="none", return_grad=True)
    np.testing.assert_array_equal(value, [0, 0, np.inf, np.inf])
    np.testing.assert_array_equal(grad, [0, 0, 1, -1])
    assert np.isnan(xe.binary_cross_entropy([0.5], np.array([np.nan], dtype)))


@both
@pytest.mark.parametrize("wrong", [5, -1, 255, 2**31, 2**32, -(2**32), 2**40])
def test_label_out_of_range(dtype, wrong):
    y, z, _ = problem(dtype=dtype)
    y = y.astype(np.int64)
    y[7] = wrong
    with pytest.raises(ValueError, match=rf"y_true holds {wrong} \(row 7\), outside of \[0, 5\)"):
        xe.cross_entropy(y, z)
    with pytest.raises(ValueError, match=rf"y_true holds {wrong} \(position \(1, 3\)\)"):
        xe.cross_entropy(y.reshape(10, 4), z.reshape(10, 4, 5))
    with pytest.raises(ValueError, match=r"row 7"):
        xe.cross_entropy(y.astype(float), z)
    with pytest.raises(ValueError, match=r"row 7"):
        xe.linear_cross_entropy(z, y, np.zeros((5, 5)))


def test_uint64_label_out_of_range():
    with pytest.raises(ValueError, match=f"holds {2**64 - 1} "):
        xe.cross_entropy(np.array([2**64 - 1], dtype=np.uint64), np.zeros((1, 3)))


@pytest.mark.parametrize("wrong", [0.5, np.nan, np.inf, -np.inf])
def test_labels_that_are_no_integers(wrong):
    y, z, _ = problem()
    y = y.astype(float)
    y[3] = wrong
    with pytest.raises(ValueError, match=rf"y_true holds {wrong} \(row 3\); class indices are integers"):
        xe.cross_entropy(y, z)


def test_labels_of_no_numbers():
    for y in (["a", "b"], [None, 1], np.array(["2001-01-01", "2001-01-02"], dtype="M8[D]")):
        with pytest.raises(ValueError, match="class indices"):
            xe.cross_entropy(y, np.zeros((2, 3)))


@pytest.mark.parametrize("integer", INTEGERS)
@both
def test_integer_labels_of_any_type(dtype, integer):
    _, z, rng = problem(dtype=dtype)
    y = rng.integers(0, 2, len(z))
    expected = xe.cross_entropy(y, z)
    typed = y.astype(integer)
    for labels in (typed, np.repeat(typed, 2)[::2], typed.tolist(), typed.astype(object), typed.astype(np.float16)):
        assert xe.cross_entropy(labels, z) == expected
    if integer is not np.bool_:
        assert xe.cross_entropy(typed.astype(typed.dtype.newbyteorder()), z) == expected
        assert xe.cross_entropy(typed, z, ignore_index=-100) == expected
        assert xe.cross_entropy(typed, z, ignore_index=2**70) == expected


@both
@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([0.5, 0.5, -0.1], "holds -0.1.* in row 4"),
        ([0.5, np.nan, 0.5], "holds nan in row 4"),
        ([0.5, 0.6, 0.0], "sums to 1.1 in row 4"),
        ([0.0, 0.0, 0.0], "sums to 0 in row 4"),
        ([np.inf, 0.0, 0.0], "sums to inf in row 4"),
    ],
)
def test_rows_that_are_no_distribution(dtype, row, message):
    y = np.full((6, 3), [0.25, 0.25, 0.5], dtype)
    y[4] = row
    with pytest.raises(ValueError, match=f"y_true {message}"):
        xe.cross_entropy(y, np.zeros((6, 3), dtype))


def test_tolerance_of_the_row_sum_follows_the_precision_it_was_given_in():
    z = np.zeros((1, 3), np.float32)
    near = np.array([[0.25, 0.25, 0.5]])
    near_enough = near + 5e-7 / 3
    xe.cross_entropy(near_enough, z)
    with pytest.raises(ValueError, match="row 0"):
        xe.cross_entropy(near + 2e-6 / 3, z)
    xe.cross_entropy((near + 5e-4 / 3).astype(np.float32), z)
    with pytest.raises(ValueError, match="row 0"):
        xe.cross_entropy((near + 5e-3 / 3).astype(np.float32), z.astype(float))


@pytest.mark.parametrize("wrong", [-1.0, np.nan, np.inf])
@pytest.mark.parametrize("name", ["sample_weight", "class_weight", "pos_weight"])
def test_bad_weights(wrong, name):
    weights = np.ones(4)
    weights[2] = wrong
    z = np.zeros((4, 4))
    function = xe.binary_cross_entropy if name == "pos_weight" else xe.cross_entropy
    with pytest.raises(ValueError, match=rf"{name} holds {wrong} \(row 2\)"):
        function(np.eye(4), z, **{name: weights})


@both
@pytest.mark.parametrize("lead", [(0,), (3, 0), (0, 3)])
def test_empty_batch(dtype, lead):
    z = np.empty((*lead, 4), dtype)
    for y in (np.empty(lead, int), np.empty((*lead, 4))):
        for reduction in ("mean", "sum"):
            value, grad = xe.cross_entropy(y, z, reduction=reduction, return_grad=True)
            assert value == 0.0
            assert grad.shape == z.shape
        assert xe.cross_entropy(y, z, reduction="none").shape == lead
    assert xe.binary_cross_entropy(z, z) == 0.0
    assert xe.binary_cross_entropy(z, z, sample_weight=np.ones(lead), pos_weight=np.ones(4), reduction="sum") == 0.0
    assert xe.binary_cross_entropy(z.T, z.T, pos_weight=np.ones(lead[::-1])) == 0.0
    assert xe.binary_cross_entropy(z, z, pos_weight=np.ones(z.shape)) == 0.0
    assert xe.linear_cross_entropy(np.empty((*lead, 3), dtype), np.empty(lead, int), np.ones((4, 3))) == 0.0
    assert xe.softmax(z).shape == z.shape


@both
@pytest.mark.parametrize("n_classes", [1, 2, 17, 100_000])
@pytest.mark.parametrize("n", [1, 5])
def test_any_number_of_classes(dtype, n_classes, n):
    y, z, _ = problem(n, n_classes, dtype=dtype)
    value, grad = xe.cross_entropy(y, z, reduction="none", return_grad=True)
    np.testing.assert_allclose(value, naive(one_hot(y, n_classes) if n_classes < 100 else rows_hot(y, z), z), rtol=1e-6)
    p = np.exp(np.asarray(log_softmax(z), dtype=float))
    p[np.arange(n), y] -= 1
    np.testing.assert_allclose(grad, p, atol=1e-6)


def rows_hot(y, z):
    out = np.zeros(z.shape)
    out[np.arange(len(y)), y] = 1
    return out


# kinds of arrays


@both
def test_layouts(dtype, tmp_path):
    y, z, rng = problem(dtype=dtype)
    expected, grad = xe.cross_entropy(y, z, return_grad=True)
    on_disk = np.memmap(tmp_path / "logits", dtype=dtype, mode="w+", shape=z.shape)
    on_disk[:] = z
    on_disk.flush()
    read_only = z.copy()
    read_only.flags.writeable = False
    unaligned = np.frombuffer(b"x" + z.tobytes(), dtype=np.uint8)[1:].view(dtype).reshape(z.shape)
    kinds = {
        "fortran": np.asfortranarray(z),
        "strided": np.repeat(np.repeat(z, 2, axis=0), 3, axis=1)[::2, ::3],
        "reversed": z[::-1, ::-1].copy()[::-1, ::-1],
        "read-only": read_only,
        "memory-mapped": np.memmap(tmp_path / "logits", dtype=dtype, mode="r", shape=z.shape),
        "big-endian": z.astype(z.dtype.newbyteorder(">")),
        "unaligned": unaligned,
        "list": z.tolist(),
        "object": z.astype(object),
    }
    for kind, logits in kinds.items():
        kept = np.array(logits)
        value, g = xe.cross_entropy(y, logits, return_grad=True)
        assert value == pytest.approx(expected, rel=1e-6 if kind in ("list", "object") else 1e-15), kind
        np.testing.assert_allclose(g, grad, rtol=1e-5, err_msg=kind)
        assert g.dtype == (np.float64 if kind in ("list", "object") else dtype)
        np.testing.assert_array_equal(np.array(logits), kept)
        target = (rng.random(z.shape) < 0.5).astype(dtype)
        np.testing.assert_allclose(
            xe.binary_cross_entropy(target, logits), xe.binary_cross_entropy(target, z), rtol=1e-6, err_msg=kind
        )
        np.testing.assert_allclose(xe.softmax(logits), xe.softmax(z), rtol=1e-6, err_msg=kind)
        linear, gradients = xe.linear_cross_entropy(logits, y, np.eye(5, dtype=dtype), return_input_grad=True)
        assert linear == pytest.approx(expected, rel=1e-6), kind
        np.testing.assert_allclose(gradients[2], grad, rtol=1e-5, err_msg=kind)


def test_float16_is_computed_in_float32():
    y, z, _ = problem(dtype=np.float16)
    value, grad = xe.cross_entropy(y, z, return_grad=True)
    expected, grad32 = xe.cross_entropy(y, z.astype(np.float32), return_grad=True)
    assert value == expected
    assert grad.dtype == np.float32
    np.testing.assert_array_equal(grad, grad32)
    assert xe.softmax(z).dtype == xe.log_softmax(z).dtype == np.float32


def test_integer_logits_are_computed_in_float64():
    value, grad = xe.cross_entropy([0], [[1, 2]], return_grad=True)
    assert value == xe.cross_entropy([0], [[1.0, 2.0]])
    assert grad.dtype == np.float64


NO_NUMBERS = [["a", "b"], [1j, 0], [{}, 0], [None, 0], ["1", 0], [np.complex64(1), 0]]


@pytest.mark.parametrize("logits", NO_NUMBERS)
def test_logits_of_no_numbers(logits):
    for given in ([logits], np.array([logits], dtype=object)):
        with pytest.raises(ValueError, match="logits must hold real numbers"):
            xe.cross_entropy([0], given)
        with pytest.raises(ValueError, match="logits must hold real numbers"):
            xe.softmax(given)


def test_objects_that_are_numbers_are_logits():
    logits = np.array([[1, Fraction(5, 2), np.float32(0.5), True]], dtype=object)
    assert xe.cross_entropy([1], logits) == xe.cross_entropy([1], [[1.0, 2.5, 0.5, 1.0]])


def test_complex_rows():
    with pytest.raises(ValueError, match="X must hold real numbers, not complex128"):
        xe.linear_cross_entropy(sp.csr_array(np.array([[1j, 2.0]])), [0], np.ones((3, 2)))


def test_masks_are_refused():
    z, y = np.array([[1.0, 2.0], [0.5, 0.0]]), np.array([0, 1])
    hides, shows = np.ma.array(z, mask=[[0, 0], [0, 1]]), np.ma.array(z)
    part = np.ma.array(y, mask=[0, 1])
    for name, call in {
        "logits": lambda: xe.cross_entropy(y, hides),
        "y_true": lambda: xe.cross_entropy(part, z),
        "sample_weight": lambda: xe.cross_entropy(y, z, sample_weight=part),
        "class_weight": lambda: xe.cross_entropy(y, z, class_weight=part),
        "pos_weight": lambda: xe.binary_cross_entropy(z > 0, z, pos_weight=part),
        "X": lambda: xe.linear_cross_entropy(hides, y, z),
        "coef": lambda: xe.linear_cross_entropy(z, y, hides),
    }.items():
        with pytest.raises(ValueError, match=rf"{name} is a masked array.* in row 1.*pass {name}.filled\(value\)"):
            call()
    with pytest.raises(ValueError, match="y_true is a masked array"):
        xe.binary_cross_entropy(np.ma.array(z > 0, mask=hides.mask), z)
    assert xe.cross_entropy(np.ma.array(y), shows) == xe.cross_entropy(y, z)


def test_sparse_logits():
    with pytest.raises(ValueError, match=r"pass logits.toarray\(\)"):
        xe.cross_entropy([0], sp.csr_matrix((1, 3)))


@both
@pytest.mark.parametrize("lead", [(), (1,), (6,), (2, 3), (2, 1, 3), (1, 2, 3, 2)])
def test_leading_axes(dtype, lead):
    rng = np.random.default_rng(0)
    z = rng.standard_normal((*lead, 4)).astype(dtype)
    y = rng.integers(0, 4, lead)
    s = rng.random(lead)
    soft = rng.dirichlet(np.ones(4), lead)
    for target in (y, soft):
        value, grad = xe.cross_entropy(target, z, sample_weight=s, reduction="none", return_grad=True)
        assert value.shape == lead
        assert grad.shape == z.shape
        assert value.dtype == np.float64
        assert grad.dtype == dtype
        flat = target.reshape((-1, 4) if target is soft else -1)
        v, g = xe.cross_entropy(flat, z.reshape(-1, 4), sample_weight=s.ravel(), reduction="none", return_grad=True)
        np.testing.assert_array_equal(value.ravel(), v)
        np.testing.assert_array_equal(grad.reshape(-1, 4), g)
        mean = xe.cross_entropy(target, z, sample_weight=s)
        assert isinstance(mean, float)
        assert mean == pytest.approx(np.sum(v) / np.sum(s), rel=1e-6 if dtype is np.float32 else 1e-12)


def test_weights_of_the_first_axes():
    rng = np.random.default_rng(0)
    z, y, s = rng.standard_normal((4, 3, 5)), rng.integers(0, 5, (4, 3)), rng.random(4)
    full = np.repeat(s, 3).reshape(4, 3)
    assert xe.cross_entropy(y, z, sample_weight=s) == xe.cross_entropy(y, z, sample_weight=full)
    t = rng.random(z.shape)
    a, grad = xe.binary_cross_entropy(t, z, sample_weight=s, return_grad=True)
    everywhere = np.broadcast_to(full[..., None], z.shape)
    b, grad_full = xe.binary_cross_entropy(t, z, sample_weight=everywhere, return_grad=True)
    assert a == pytest.approx(b, rel=1e-15)
    np.testing.assert_allclose(grad, grad_full, rtol=1e-14)
    for wrong in (np.ones(3), np.ones((4, 5)), np.ones((4, 1)), np.ones((4, 3, 5, 1))):
        with pytest.raises(ValueError, match="sample_weight has shape"):
            xe.binary_cross_entropy(t, z, sample_weight=wrong)


@pytest.mark.parametrize("shape", [(3, 1), (4,), (3, 4), (1, 3), ()])
def test_targets_of_another_shape(shape):
    with pytest.raises(ValueError, match=r"y_true has shape .*; for 5 classes it must be \(3,\)"):
        xe.cross_entropy(np.zeros(shape, int), np.zeros((3, 5)))


def test_shape_errors_name_the_way_out():
    with pytest.raises(ValueError, match=r"pass y_true\[..., 0\]"):
        xe.cross_entropy(np.zeros((3, 1), int), np.zeros((3, 5)))
    with pytest.raises(ValueError, match="the shapes must be equal"):
        xe.binary_cross_entropy(np.zeros(3), np.zeros((3, 1)))
    with pytest.raises(ValueError, match="its last axis must hold the classes"):
        xe.cross_entropy(0, 1.0)
    with pytest.raises(ValueError, match="its last axis must hold the classes"):
        xe.cross_entropy(np.zeros(3, int), np.zeros((3, 0)))
    with pytest.raises(ValueError, match="its last axis must hold the classes"):
        xe.softmax(1.0)
    with pytest.raises(ValueError, match=r"class_weight has shape \(4,\); it must be \(5,\)"):
        xe.cross_entropy([0], np.zeros((1, 5)), class_weight=np.ones(4))
    for weights in ("balanced", {0: 2.0}):
        with pytest.raises(ValueError, match=r"class_weight=.* must be an array of shape \(5,\)"):
            xe.cross_entropy([0], np.zeros((1, 5)), class_weight=weights)
    for y, axis in ((np.zeros((2, 5), int), 1), (np.zeros((3, 5), int), 0)):
        with pytest.raises(ValueError, match=rf"classes of logits go last: pass np.moveaxis\(logits, {axis}, -1\)"):
            xe.cross_entropy(y, np.zeros((2, 3, 5)))
    with pytest.raises(ValueError, match="does not broadcast"):
        xe.binary_cross_entropy(np.zeros((3, 2)), np.zeros((3, 2)), pos_weight=np.ones(3))
    with pytest.raises(ValueError, match="does not broadcast"):
        xe.binary_cross_entropy(np.zeros(2), np.zeros(2), pos_weight=np.ones((3, 2)))


@pytest.mark.parametrize("name", ["cross_entropy", "binary_cross_entropy"])
def test_option_errors(name):
    function, y, z = getattr(xe, name), np.zeros((2, 2)), np.zeros((2, 2))
    y[:, 0] = 1
    for eps in (-0.1, 1.1, np.nan, "0.1", None, [0.1, 0.1]):
        with pytest.raises(ValueError, match=r"label_smoothing=.* is not a number in \[0, 1\]"):
            function(y, z, label_smoothing=eps)
    with pytest.raises(ValueError, match="reduction='average' is none of 'mean', 'sum' and 'none'"):
        function(y, z, reduction="average")
    with pytest.raises(ValueError, match="loss='hinge' is no loss; pass one of 'cross_entropy', 'focal'"):
        function(y, z, loss="hinge")
    with pytest.raises(ValueError, match=r"pass an object: loss=FocalLoss\(\)"):
        function(y, z, loss=xe.FocalLoss)


@pytest.mark.parametrize("weight", [1e308, 1e-310])
def test_means_of_weights_whose_sum_float64_cannot_hold(weight):
    z, s = np.zeros((4, 2)), np.full(4, weight)
    s.flags.writeable = False
    assert xe.cross_entropy([0, 0, 0, 0], z, sample_weight=s) == pytest.approx(np.log(2.0))
    assert xe.binary_cross_entropy(z, z, sample_weight=s) == pytest.approx(np.log(2.0))
    assert xe.linear_cross_entropy(z, [0, 0, 0, 0], z[:2], sample_weight=s) == pytest.approx(np.log(2.0))
    assert xe.cross_entropy([0, 0, 0, 0], z, sample_weight=s, reduction="sum") > 0


def test_weights_that_no_mean_can_be_divided_by():
    with pytest.raises(ValueError, match=r"the weights sum to .* scale them"):
        xe.cross_entropy([0, 0], np.zeros((2, 2)), class_weight=[1e-310, 1.0])


def test_ignore_index_is_an_integer():
    assert xe.cross_entropy([0, 1], np.zeros((2, 2)), ignore_index=np.uint8(1)) == pytest.approx(np.log(2))
    for wrong in (1.5, "1", [1]):
        with pytest.raises(TypeError, match=r"ignore_index=.* must be an integer or None"):
            xe.cross_entropy([0, 1], np.zeros((2, 2)), ignore_index=wrong)


def test_data_frames_and_series():
    pd = pytest.importorskip("pandas")
    y, z, rng = problem()
    s = rng.random(40)
    expected = xe.cross_entropy(y, z, sample_weight=s)
    index = rng.permutation(40)
    logits, labels = pd.DataFrame(z, index=index), pd.Series(y, index=index)
    assert xe.cross_entropy(labels, logits, sample_weight=pd.Series(s, index=index)) == expected
    assert xe.cross_entropy(pd.Series(pd.Categorical(y), index=index), logits, sample_weight=s) == expected
    assert xe.cross_entropy(labels.astype("Int8"), logits, sample_weight=s) == expected
    assert xe.cross_entropy(pd.DataFrame(one_hot(y, 5)), logits, sample_weight=s) == pytest.approx(expected, rel=1e-14)


def test_ignore_index_needs_labels():
    with pytest.raises(ValueError, match="ignore_index=0 is a label, but y_true holds distributions"):
        xe.cross_entropy([[0.5, 0.5]], [[1.0, 2.0]], ignore_index=0)


@both
@pytest.mark.parametrize("function", ["cross_entropy", "binary_cross_entropy", "softmax", "linear_cross_entropy"])
def test_contiguous_input_is_not_copied(dtype, function):
    n, n_classes = 20_000, 64
    z = np.zeros((n, n_classes), dtype)
    y = np.zeros(n, np.int64)
    calls = {
        "cross_entropy": lambda: xe.cross_entropy(y, z, reduction="sum"),
        "binary_cross_entropy": lambda: xe.binary_cross_entropy(z, z, sample_weight=np.ones(n)),
        "softmax": lambda: xe.softmax(z),
        "linear_cross_entropy": lambda: xe.linear_cross_entropy(z, y, np.zeros((10, n_classes))),
    }
    calls[function]()
    tracemalloc.start()
    calls[function]()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (1.05 if function == "softmax" else 0.2) * z.nbytes


@both
def test_the_gradient_is_the_only_large_allocation(dtype):
    z, y = np.zeros((20_000, 64), dtype), np.zeros(20_000, np.uint8)
    tracemalloc.start()
    xe.cross_entropy(y, z, return_grad=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.1 * z.nbytes


def test_inputs_are_not_modified():
    y, z, rng = problem()
    s, w = np.ones(len(y)), rng.random(5)
    kept = [a.copy() for a in (y, z, s, w)]
    xe.cross_entropy(y, z, sample_weight=s, class_weight=w, ignore_index=int(y[0]), return_grad=True)
    for now, then in zip((y, z, s, w), kept, strict=True):
        np.testing.assert_array_equal(now, then)


@both
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_any_number_of_threads_gives_the_same_bits(monkeypatch, dtype, reduction):
    y, z, rng = problem(20_000, 7, dtype=dtype)
    t, W = rng.random(z.shape).astype(dtype), rng.standard_normal((4, 7))
    results = []
    for n_threads in (1, 2, 5):
        monkeypatch.setattr(_functional, "effective_n_threads", lambda n=n_threads: n)
        results.append(
            [
                *xe.cross_entropy(y, z, reduction=reduction, return_grad=True),
                *xe.binary_cross_entropy(t, z, reduction=reduction, return_grad=True),
                xe.linear_cross_entropy(z, y % 4, W, reduction=reduction),
                xe.softmax(z),
            ]
        )
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


# weights, smoothing, reductions


@both
@pytest.mark.parametrize("eps", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("by_class", [False, True])
@pytest.mark.parametrize("soft", [False, True])
def test_values_and_gradients(dtype, eps, weighted, by_class, soft):
    labels, z, rng = problem(n=12, dtype=dtype)
    y = rng.dirichlet(np.ones(5), 12).astype(dtype) if soft else one_hot(labels, 5)
    s = rng.random(12) if weighted else np.ones(12)
    w = rng.random(5) if by_class else np.ones(5)
    options = {
        "label_smoothing": eps,
        "sample_weight": s if weighted else None,
        "class_weight": w if by_class else None,
        "return_grad": True,
    }
    target = y if soft else labels
    expected = naive(y, z, s=s, w=w, eps=eps)
    rtol = 1e-5 if dtype is np.float32 else 1e-12
    rows, grad_rows = xe.cross_entropy(target, z, reduction="none", **options)
    np.testing.assert_allclose(rows, expected, rtol=rtol)
    total, grad = xe.cross_entropy(target, z, reduction="sum", **options)
    assert total == pytest.approx(expected.sum(), rel=rtol)
    np.testing.assert_array_equal(grad, grad_rows)
    mass = np.sum(s[:, None] * w * y)
    mean, grad_mean = xe.cross_entropy(target, z, **options)
    assert mean == pytest.approx(expected.sum() / mass, rel=rtol)
    np.testing.assert_allclose(grad_mean, grad / mass, rtol=rtol, atol=rtol)
    exact = central_difference(lambda q: naive(y, q, s=s, w=w, eps=eps).sum(), z.astype(float))
    np.testing.assert_allclose(grad, exact, atol=3e-6 if dtype is np.float32 else 1e-8)


@both
@pytest.mark.parametrize("eps", [0.0, 0.2])
def test_one_hot_rows_are_labels(dtype, eps):
    y, z, rng = problem(dtype=dtype)
    options = {"class_weight": rng.random(5), "sample_weight": rng.random(40), "label_smoothing": eps}
    from_labels = xe.cross_entropy(y, z, **options, return_grad=True)
    from_rows = xe.cross_entropy(one_hot(y, 5), z, **options, return_grad=True)
    assert from_labels[0] == pytest.approx(from_rows[0], rel=float(np.finfo(dtype).eps))
    np.testing.assert_allclose(from_labels[1], from_rows[1], rtol=8 * np.finfo(dtype).eps)


def test_class_of_weight_zero():
    z = np.array([[1.0, 2.0], [-np.inf, 0.0]])
    value, grad = xe.cross_entropy([0, 0], z, class_weight=[0.0, 1.0], return_grad=True)
    assert value == 0.0
    assert np.all(grad == 0)
    assert xe.cross_entropy([1, 0], z, class_weight=[0.0, 1.0]) == xe.cross_entropy([1], z[:1])


@both
@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
def test_a_row_whose_classes_weigh_nothing_is_ignored(loss, dtype):
    options = {"class_weight": [0.0, 1.0, 0.0], "loss": loss, "return_grad": True}
    for row in ([np.nan, 0, 0], [0, np.nan, 0], [0, 0, np.inf], [-np.inf] * 3):
        z = np.array([row, [1, 2, 3]], dtype=dtype)
        for y in ([0, 1], one_hot([0, 1], 3), np.array([[0.5, 0.0, 0.5], [0.0, 1.0, 0.0]])):
            for reduction in ("none", "sum", "mean"):
                value, grad = xe.cross_entropy(y, z, **options, reduction=reduction)
                expected, kept = xe.cross_entropy(y[1:], z[1:], **options, reduction=reduction)
                np.testing.assert_array_equal(value, [0.0, *expected] if reduction == "none" else expected)
                np.testing.assert_array_equal(grad, [[0, 0, 0], *kept])
            value, grads = xe.linear_cross_entropy(z, y, np.eye(3, dtype=dtype), **options, return_input_grad=True)
            assert value == pytest.approx(expected, rel=1e-6)
            np.testing.assert_allclose(grads[2], grad, rtol=1e-6)
        smoothed_value = xe.cross_entropy([0, 1], z, class_weight=[0.0, 1.0, 0.0], label_smoothing=0.1, loss="focal")
        assert np.isnan(smoothed_value)  # a share of class 1 weighs something


@both
def test_a_binary_target_that_weighs_nothing_is_ignored(dtype):
    z = np.array([[np.nan, 1.0], [np.inf, np.nan], [2.0, 3.0]], dtype=dtype)
    y = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    options = {"reduction": "none", "return_grad": True}
    value, grad = xe.binary_cross_entropy(y, z, pos_weight=[0.0, 0.0], **options)
    assert np.all(value[y == 1] == 0)
    assert np.all(grad[y == 1] == 0)
    expected, kept = xe.binary_cross_entropy(y[y == 0], z[y == 0], **options)
    np.testing.assert_array_equal(value[y == 0], expected)
    np.testing.assert_array_equal(grad[y == 0], kept)
    mean = xe.binary_cross_entropy(y, z, pos_weight=0.0, sample_weight=[1.0, 2.0, 1.0])
    assert mean == pytest.approx(expected.sum() / 8, rel=1e-6)  # it is part of the loss, not of the divisor
    assert np.isnan(xe.binary_cross_entropy(y, z, pos_weight=[1.0, 0.0]))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("kind", ["labels", "soft", "smoothed", "binary", "focal"])
@pytest.mark.parametrize("scale", [1e-80, 1e80, 1e131])
def test_weights_beyond_the_range_of_float32(scale, kind, reduction):
    y, z, rng = problem(n=7, n_classes=3, dtype=np.float32)
    options = {"sample_weight": rng.random(7) + 0.5, "class_weight": rng.random(3) + 0.5, "reduction": reduction}
    options["return_grad"] = True
    function, by_class = xe.cross_entropy, "class_weight"
    if kind == "soft":
        y = xe.softmax(rng.standard_normal((7, 3)))
    elif kind == "smoothed":
        options["label_smoothing"] = 0.1
    elif kind == "focal":
        options["loss"] = "focal"
    elif kind == "binary":
        function, by_class, y = xe.binary_cross_entropy, "pos_weight", (z > rng.random((7, 3))).astype(float)
        options["pos_weight"] = options.pop("class_weight")
    for name in ("sample_weight", by_class):
        extreme = {**options, name: options[name] * scale}
        value, grad = function(y, z, **extreme)
        expected, exact = function(y, z.astype(float), **extreme)
        np.testing.assert_allclose(value, expected, rtol=1e-6)
        assert grad.dtype == z.dtype
        with np.errstate(over="ignore"):  # where float32 cannot hold it, it is infinite, with the right sign
            np.testing.assert_allclose(grad, exact.astype(np.float32), rtol=1e-5, atol=1e-7)
        if kind != "binary" and reduction != "none":
            coef = np.eye(3, dtype=z.dtype)
            linear, grads = xe.linear_cross_entropy(z, y, coef, **extreme, return_input_grad=True)
            np.testing.assert_allclose(linear, value, rtol=1e-6)
            assert all(g.dtype == z.dtype for g in grads)
            np.testing.assert_allclose(grads[2], grad, rtol=1e-5, atol=1e-7)


@both
@pytest.mark.parametrize("eps", [0.0, 0.3])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_binary_is_the_softmax_of_two_classes(dtype, eps, reduction):
    rng = np.random.default_rng(0)
    z = (4 * rng.standard_normal(50)).astype(dtype)
    y, s = rng.random(50).astype(dtype), rng.random(50)
    pair = np.column_stack([np.zeros_like(z), z])
    both_sides = np.column_stack([1 - y.astype(float), y])
    options = {"sample_weight": s, "label_smoothing": eps, "reduction": reduction, "return_grad": True}
    value, grad = xe.binary_cross_entropy(y, z, **options)
    expected, grad_pair = xe.cross_entropy(both_sides, pair, **options)
    np.testing.assert_allclose(value, expected, rtol=1e-6 if dtype is np.float32 else 1e-13)
    np.testing.assert_allclose(grad, grad_pair[:, 1], atol=1e-6 if dtype is np.float32 else 1e-13)


@both
@pytest.mark.parametrize("shape", [(), (7,), (4, 3), (2, 3, 4, 5)])
def test_binary_shapes(dtype, shape):
    rng = np.random.default_rng(0)
    z, y = rng.standard_normal(shape).astype(dtype), rng.random(shape)
    value, grad = xe.binary_cross_entropy(y, z, reduction="none", return_grad=True)
    assert value.shape == grad.shape == shape
    assert value.dtype == np.float64
    assert grad.dtype == dtype
    expected = np.logaddexp(0, -z.astype(float)) * y + np.logaddexp(0, z.astype(float)) * (1 - y)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    assert xe.binary_cross_entropy(y, z) == pytest.approx(expected.mean(), rel=1e-6)


@pytest.mark.parametrize("shape", [(), (1,), (5,), (4, 1), (4, 5), (3, 1, 1), (3, 4, 5), (1, 4, 1)])
def test_pos_weight_broadcasts(shape):
    rng = np.random.default_rng(0)
    z, y, c = rng.standard_normal((3, 4, 5)), rng.random((3, 4, 5)), rng.random(shape)
    value, grad = xe.binary_cross_entropy(y, z, pos_weight=c, reduction="none", return_grad=True)
    np.testing.assert_allclose(value, c * np.logaddexp(0, -z) * y + np.logaddexp(0, z) * (1 - y), rtol=1e-13)
    p = 1 / (1 + np.exp(-z))
    np.testing.assert_allclose(grad, (1 - y) * p - c * y * (1 - p), rtol=1e-12)


@both
@pytest.mark.parametrize("wrong", [-0.1, 1.1, np.nan])
def test_binary_targets_outside_of_the_unit_interval(dtype, wrong):
    y = np.full((3, 4), 0.5, dtype)
    y[1, 2] = wrong
    with pytest.raises(ValueError, match=r"y_true holds .* \(position \(1, 2\)\), outside of \[0, 1\]"):
        xe.binary_cross_entropy(y, np.zeros((3, 4), dtype))


# linear_cross_entropy


@both
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("n_outputs", [1, 2, 5, 75])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_linear_is_cross_entropy_of_the_logits(dtype, sparse, n_outputs, soft, reduction):
    rng = np.random.default_rng(0)
    n, d, n_classes = 300, 6, max(2, n_outputs)
    X = (rng.standard_normal((n, d)) * (rng.random((n, d)) < 0.5)).astype(dtype)
    W, b = rng.standard_normal((n_outputs, d)), rng.standard_normal(n_outputs)
    y = rng.integers(0, n_classes, n)
    options = {
        "sample_weight": rng.random(n),
        "class_weight": rng.random(n_classes),
        "label_smoothing": 0.1,
        "reduction": reduction,
    }
    if soft:
        y = rng.dirichlet(np.ones(n_classes), n)
    else:
        options["ignore_index"] = 1
    Z = X.astype(float) @ W.T + b
    pair = np.column_stack([np.zeros(n), Z]) if n_outputs == 1 else Z
    expected, G = xe.cross_entropy(y, pair, **options, return_grad=True)
    G = G[:, 1:] if n_outputs == 1 else G
    value, (grad_W, grad_b) = xe.linear_cross_entropy(
        sp.csr_array(X) if sparse else X, y, W, b, **options, return_grad=True
    )
    rtol, atol = (1e-5, 1e-5) if dtype is np.float32 else (1e-12, 1e-12)
    assert value == pytest.approx(expected, rel=rtol)
    np.testing.assert_allclose(grad_W, G.T @ X, rtol=rtol, atol=atol * np.abs(G.T @ X).max())
    np.testing.assert_allclose(grad_b, G.sum(axis=0), rtol=rtol, atol=atol * np.abs(G).sum())
    assert grad_W.dtype == grad_b.dtype == W.dtype
    if not sparse:
        grads = xe.linear_cross_entropy(X, y, W.astype(dtype), b, **options, return_input_grad=True)[1]
        np.testing.assert_allclose(grads[2], G @ W, rtol=rtol, atol=atol * np.abs(G @ W).max())
        assert [g.dtype for g in grads] == [dtype] * 3
        assert [g.shape for g in grads] == [W.shape, b.shape, X.shape]


@both
def test_linear_rows(dtype):
    rng = np.random.default_rng(0)
    X, y, W = rng.standard_normal((2, 50, 3)).astype(dtype), rng.integers(-1, 4, (2, 50)), rng.standard_normal((4, 3))
    X[y == -1] = np.nan
    rows = xe.linear_cross_entropy(X, y, W, ignore_index=-1, reduction="none")
    assert rows.shape == (2, 50)
    assert np.all(rows[y == -1] == 0)
    expected = xe.cross_entropy(y, X.astype(float) @ W.T, ignore_index=-1, reduction="none")
    np.testing.assert_allclose(rows, expected, rtol=1e-4 if dtype is np.float32 else 1e-12)
    grad_X = xe.linear_cross_entropy(X, y, W, ignore_index=-1, return_input_grad=True)[1][2]
    assert np.all(grad_X[y == -1] == 0)
    assert np.all(np.isfinite(grad_X))


def test_linear_without_intercept_or_features():
    X, y = np.ones((4, 0)), np.array([0, 1, 2, 2])
    value, (grad_W, grad_b) = xe.linear_cross_entropy(X, y, np.ones((3, 0)), return_grad=True)
    assert value == pytest.approx(np.log(3))
    assert grad_W.shape == (3, 0)
    np.testing.assert_allclose(grad_b, [1 / 12, 1 / 12, -2 / 12], atol=1e-15)


def test_linear_errors():
    X, y, W = np.ones((4, 3)), np.zeros(4, int), np.ones((2, 3))
    with pytest.raises(ValueError, match="a gradient of coef for every row"):
        xe.linear_cross_entropy(X, y, W, reduction="none", return_grad=True)
    with pytest.raises(ValueError, match="needs dense X"):
        xe.linear_cross_entropy(sp.csr_array(X), y, W, return_input_grad=True)
    with pytest.raises(ValueError, match=r"coef has shape \(2, 2\), X \(4, 3\)"):
        xe.linear_cross_entropy(X, y, W[:, :2])
    with pytest.raises(ValueError, match="coef has shape"):
        xe.linear_cross_entropy(X, y, W[0])
    with pytest.raises(ValueError, match=r"intercept has shape \(3,\), coef \(2, 3\)"):
        xe.linear_cross_entropy(X, y, W, np.ones(3))
    with pytest.raises(ValueError, match=r"outside of \[0, 2\)"):
        xe.linear_cross_entropy(X, y + 2, W[:1])
    for name in ("indices", "indptr"):
        rows = sp.csr_matrix(X)
        setattr(rows, name, getattr(rows, name).astype(float))
        with pytest.raises(ValueError, match=f"X.{name} of the CSR matrix holds float64, not integers"):
            xe.linear_cross_entropy(rows, y, W)


def test_linear_takes_any_sparse_format():
    rng = np.random.default_rng(0)
    X = sp.csr_array(rng.standard_normal((30, 5)) * (rng.random((30, 5)) < 0.4))
    y, W = rng.integers(0, 3, 30), rng.standard_normal((3, 5))
    expected = xe.linear_cross_entropy(X.toarray(), y, W)
    for form in ("csr", "csc", "coo", "lil"):
        assert xe.linear_cross_entropy(X.asformat(form), y, W) == pytest.approx(expected, rel=1e-14)
    counts = sp.csr_array((X.toarray() > 0).astype(np.int64))
    assert xe.linear_cross_entropy(counts, y, W) == xe.linear_cross_entropy(counts.astype(float), y, W)


# softmax


@both
@pytest.mark.parametrize("scale", SCALES)
def test_softmax(dtype, scale):
    _, z, _ = problem(scale=scale, dtype=dtype)
    exact = log_softmax(z)
    np.testing.assert_allclose(xe.log_softmax(z), exact.astype(float), rtol=RTOL[dtype], atol=1e-19 / RTOL[dtype])
    np.testing.assert_allclose(xe.softmax(z), np.exp(exact).astype(float), rtol=2e-5, atol=np.finfo(dtype).tiny)


def test_softmax_shapes():
    z = np.random.default_rng(0).standard_normal((2, 3, 4))
    np.testing.assert_array_equal(xe.softmax(z)[1, 2], xe.softmax(z[1, 2]))
    np.testing.assert_allclose(xe.softmax(z).sum(axis=-1), 1)
    np.testing.assert_allclose(np.exp(xe.log_softmax(z)), xe.softmax(z))


# PyTorch


def torch_loss(function, y, z, **options):
    torch = pytest.importorskip("torch")
    options = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    z = torch.tensor(z, requires_grad=True)
    value = getattr(torch.nn.functional, function)(z, torch.tensor(y), **options)
    value.sum().backward()
    return value.detach().numpy(), z.grad.numpy()


@both
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("eps", [0.0, 0.2])
@pytest.mark.parametrize("by_class", [False, True])
def test_agrees_with_pytorch(dtype, reduction, eps, by_class):
    y, z, rng = problem(dtype=dtype)
    w = rng.random(5).astype(dtype)
    tolerance = {"rtol": 1e-5, "atol": 1e-6} if dtype is np.float32 else {"rtol": 1e-11, "atol": 1e-14}
    padded = np.where(rng.random(40) < 0.3, -100, y)
    for labels, theirs, ours in [(y, {}, {}), (padded, {"ignore_index": -100}, {"ignore_index": -100})]:
        if by_class:
            theirs, ours = theirs | {"weight": w}, ours | {"class_weight": w}
        value, grad = torch_loss("cross_entropy", labels, z, reduction=reduction, label_smoothing=eps, **theirs)
        found = xe.cross_entropy(labels, z, reduction=reduction, label_smoothing=eps, return_grad=True, **ours)
        np.testing.assert_allclose(found[0], value, **tolerance)
        np.testing.assert_allclose(found[1], grad, **tolerance)
    soft = rng.dirichlet(np.ones(5), 40).astype(dtype)
    if reduction != "mean" or not by_class:  # PyTorch's mean of weighted soft targets divides by n
        weights = ({"weight": w}, {"class_weight": w}) if by_class else ({}, {})
        value, grad = torch_loss("cross_entropy", soft, z, reduction=reduction, label_smoothing=eps, **weights[0])
        found = xe.cross_entropy(soft, z, reduction=reduction, label_smoothing=eps, return_grad=True, **weights[1])
        np.testing.assert_allclose(found[0], value, **tolerance)
        np.testing.assert_allclose(found[1], grad, **tolerance)


@both
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_binary_agrees_with_pytorch(dtype, reduction):
    rng = np.random.default_rng(0)
    z, y = rng.standard_normal((20, 3)).astype(dtype), rng.random((20, 3)).astype(dtype)
    c = rng.random(3).astype(dtype)
    value, grad = torch_loss("binary_cross_entropy_with_logits", y, z, pos_weight=c, reduction=reduction)
    found = xe.binary_cross_entropy(y, z, pos_weight=c, reduction=reduction, return_grad=True)
    tolerance = {"rtol": 1e-5, "atol": 1e-6} if dtype is np.float32 else {"rtol": 1e-11, "atol": 1e-14}
    np.testing.assert_allclose(found[0], value, **tolerance)
    np.testing.assert_allclose(found[1], grad, **tolerance)


NAN, INF = np.nan, np.inf
UNLIKE_PYTORCH = {  # logits, target, options of PyTorch, its loss and gradient; our options, our loss and gradient
    "a confident row": (
        [[40, 0]], [0], {}, 0, [[0, 4.248354e-18]],
        {}, 4.248354e-18, [[-4.248354e-18, 4.248354e-18]],
    ),
    "a masked class, one-hot": (
        [[1, -INF, 2]], [[1.0, 0, 0]], {}, NAN, [[-0.7310586, 0, 0.7310586]],
        {}, 1.3132617, [[-0.7310586, 0, 0.7310586]],
    ),
    "a masked class, smoothing": (
        [[1, -INF, 2]], [0], {"label_smoothing": 0.1}, INF, [[-0.6643919, -0.03333333, 0.6977252]],
        {"label_smoothing": 0.1}, 1.2632617, [[-0.6810586, 0, 0.6810586]],
    ),
    "everything ignored": (
        [[1, 2]], [-100], {}, NAN, [[0, 0]],
        {"ignore_index": -100}, 0, [[0, 0]],
    ),
    "NaN in an ignored row": (
        [[1, 2], [NAN, NAN]], [0, -100], {}, 1.3132617, [[-0.7310586, 0.7310586], [NAN, NAN]],
        {"ignore_index": -100}, 1.3132617, [[-0.7310586, 0.7310586], [0, 0]],
    ),
    "weights and labels: alike": (
        [[1, 0, 0], [0, 0, 1]], [0, 1], {"weight": [1, 2, 4]}, 1.2181114, None,
        {"class_weight": [1, 2, 4]}, 1.2181114, None,
    ),
    "weights and one-hot rows": (
        [[1, 0, 0], [0, 0, 1]], [[1.0, 0, 0], [0, 1.0, 0]], {"weight": [1, 2, 4]}, 1.8271671, None,
        {"class_weight": [1, 2, 4]}, 1.2181114, None,
    ),
    "no weight left": (
        [[1, 0, 0]], [0], {"weight": [0, 1, 1]}, NAN, [[NAN, NAN, NAN]],
        {"class_weight": [0, 1, 1]}, 0, [[0, 0, 0]],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNLIKE_PYTORCH)
def test_differences_from_pytorch(name):
    """The cases are those of the table in docs/losses.md."""
    logits, y, their_options, their_value, their_grad, options, value, grad = UNLIKE_PYTORCH[name]
    z = np.array(logits, np.float32)
    target = np.array(y, np.float32 if np.ndim(y) == 2 else np.int64)
    weight = {k: np.array(v, np.float32) if k == "weight" else v for k, v in their_options.items()}
    theirs = torch_loss("cross_entropy", target, z, **weight)
    ours = xe.cross_entropy(target, z, return_grad=True, **options)
    for found, expected in zip([*theirs, *ours], [their_value, their_grad, value, grad], strict=True):
        if expected is not None:
            np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_binary_differences_from_pytorch():
    z, y = np.array([20, 100, INF, -INF, -INF], np.float32), np.array([1, 1, 1, 0, 1], np.float32)
    value, grad = torch_loss("binary_cross_entropy_with_logits", y, z, reduction="none")
    np.testing.assert_allclose(value, [2.0611537e-09, 3.9e-44, NAN, NAN, NAN], rtol=0.1)
    np.testing.assert_array_equal(grad, [0, 0, 0, 0, -1])
    value, grad = xe.binary_cross_entropy(y, z, reduction="none", return_grad=True)
    np.testing.assert_allclose(value, [2.0611537e-09, 3.7200760e-44, 0, 0, INF], rtol=1e-6)
    np.testing.assert_allclose(grad, [-2.0611537e-09, -3.72e-44, 0, 0, -1], rtol=0.02)
    y, z, s = np.array([1.0, 0.0]), np.array([1.0, 2.0]), np.array([1.0, 0.0])
    theirs = torch_loss("binary_cross_entropy_with_logits", y, z, weight=s, reduction="mean")[0]
    assert xe.binary_cross_entropy(y, z, sample_weight=s) == pytest.approx(2 * theirs, rel=1e-12)


# signatures


def test_signatures():
    common = "sample_weight=None, class_weight=None, label_smoothing=0.0, loss='cross_entropy', "
    expected = {
        "cross_entropy": f"(y_true, logits, *, {common}ignore_index=None, reduction='mean', return_grad=False)",
        "binary_cross_entropy": "(y_true, logits, *, sample_weight=None, pos_weight=None, label_smoothing=0.0, "
        "loss='cross_entropy', reduction='mean', return_grad=False)",
        "linear_cross_entropy": f"(X, y_true, coef, intercept=None, *, {common}ignore_index=None, reduction='mean', "
        "return_grad=False, return_input_grad=False)",
        "softmax": "(logits)",
        "log_softmax": "(logits)",
    }
    for name, signature in expected.items():
        found = inspect.signature(getattr(xe, name))
        bare = found.replace(
            parameters=[p.replace(annotation=p.empty) for p in found.parameters.values()],
            return_annotation=found.empty,
        )
        assert str(bare) == signature


# networks, whose backpropagation starts with the gradient with respect to the logits


def adam(parameters, gradients_of, n_steps, rate):
    """The Adam optimiser of Kingma & Ba (2015), in place."""
    first, second = ([np.zeros_like(p) for p in parameters] for _ in range(2))
    for step in range(1, n_steps + 1):
        value, gradients = gradients_of(*parameters)
        for p, g, m, v in zip(parameters, gradients, first, second, strict=True):
            m += 0.1 * (g - m)
            v += 0.001 * (g * g - v)
            p -= rate * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
    return value


@both
def test_a_network_learns_digits(dtype):
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(dtype)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(y))
    train, test = order[:1200], order[1200:]
    parameters = [
        (rng.standard_normal((64, 64)) / 8).astype(dtype),
        np.zeros(64, dtype),
        (rng.standard_normal((64, 10)) / 8).astype(dtype),
        np.zeros(10, dtype),
    ]

    def gradients(W1, b1, W2, b2):
        hidden = np.maximum(X[train] @ W1 + b1, 0)
        value, G = xe.cross_entropy(y[train], hidden @ W2 + b2, return_grad=True)
        H = (G @ W2.T) * (hidden > 0)
        return value, (X[train].T @ H, H.sum(axis=0), hidden.T @ G, G.sum(axis=0))

    assert adam(parameters, gradients, 150, 0.02) < 0.03
    W1, b1, W2, b2 = parameters
    predicted = (np.maximum(X[test] @ W1 + b1, 0) @ W2 + b2).argmax(axis=1)
    assert np.mean(predicted == y[test]) > 0.95
    assert all(p.dtype == dtype for p in parameters)


TEXT = "the loss of a row is the price of its surprise the sum of the rows is what we pay and the mean is what we tell"


def test_a_character_model_learns_padded_words():
    words = TEXT.split()
    letters = sorted(set("".join(words)))
    n_classes, end, longest = len(letters) + 1, len(letters), max(map(len, words)) + 1
    y = np.full((len(words), longest), -1)  # (batch, time), padded with -1
    for row, word in zip(y, words, strict=True):
        row[: len(word) + 1] = [*map(letters.index, word), end]
    one_hot_before = np.eye(n_classes + 1)  # the two letters before, or the start
    before = np.pad(np.where(y < 0, n_classes, y), ((0, 0), (2, 0)), constant_values=n_classes)
    inputs = np.concatenate([one_hot_before[before[:, :-2]], one_hot_before[before[:, 1:-1]]], axis=2)
    rng = np.random.default_rng(0)
    parameters = [0.3 * rng.standard_normal((inputs.shape[2], 24)), 0.3 * rng.standard_normal((24, n_classes))]

    def gradients(W1, W2):
        hidden = np.tanh(inputs @ W1)  # (batch, time, 24)
        value, G = xe.cross_entropy(y, hidden @ W2, ignore_index=-1, return_grad=True)  # (batch, time, K)
        assert np.all(G[y == -1] == 0)
        H = (G @ W2.T) * (1 - hidden**2)
        return value, (np.einsum("bti,btj->ij", inputs, H), np.einsum("bti,btj->ij", hidden, G))

    start = gradients(*parameters)[0]
    assert adam(parameters, gradients, 150, 0.05) < 0.75 < 2 < start

    # each position counts once, whatever the padding
    logits = np.tanh(inputs @ parameters[0]) @ parameters[1]
    rows = [xe.cross_entropy(row[row >= 0], z[row >= 0], reduction="sum") for row, z in zip(y, logits, strict=True)]
    mean = xe.cross_entropy(y, logits, ignore_index=-1)
    assert mean == pytest.approx(sum(rows) / np.sum(y >= 0), rel=1e-12)


@both
@pytest.mark.parametrize("n_classes", [*range(1, 11), 23, 24, 25, 33])
def test_short_and_odd_rows_are_written_whole_and_alone(dtype, n_classes):
    # the kernel transposes several rows of few classes, and processes short rows with the start of the next row
    for n in [*range(1, 18), 33, 64, 65, 130]:
        y, z, _ = problem(n=n, n_classes=n_classes, dtype=dtype, seed=n)
        memory = np.full(n * n_classes + 32, 7, dtype=dtype)
        grad = memory[16:-16].reshape(n, n_classes)
        _functional.kernels.softmax_loss(z, labels=y.astype(np.int32), grad=grad)
        assert (memory[:16] == 7).all()
        assert (memory[-16:] == 7).all()
        exact = np.exp(log_softmax(z)) - one_hot(y, n_classes)
        np.testing.assert_allclose(grad, exact, rtol=0, atol=10 * np.finfo(dtype).eps)


# weights whose products overflow, and columns with names


@pytest.mark.parametrize("loss", ["cross_entropy", "focal", "generalized", "poly", "symmetric"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_weights_give_no_nan(dtype, reduction, loss):
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=(5, 3)).astype(dtype), np.array([0, 1, 2, 1, 0])
    for w in (None, [1e80, 1, 1], [1e-80, 1, 1e80], [1e300] * 3, [0, 1, 1], [1e-300] * 3):
        for s in (None, [1e131] * 5, [1e131, 1, 1, 1, 1e-300], [1e-300] * 5, [0, 1e308, 1, 1, 1]):
            options = {"sample_weight": s, "class_weight": w, "reduction": reduction, "loss": loss}
            weights = [Fraction(1 if s is None else s[i]) * Fraction(1 if w is None else w[k]) for i, k in enumerate(y)]
            if reduction != "mean" and max(weights) > np.finfo(np.float64).max:
                with pytest.raises(ValueError, match="is inf in float64"):
                    xe.cross_entropy(y, z, **options)
                continue
            value, grad = xe.cross_entropy(y, z, return_grad=True, **options)
            assert not np.isnan(value).any()
            assert not np.isnan(grad).any()
            if reduction == "mean":
                shares = [float(v / sum(weights)) for v in weights]
                expected, slope = xe.cross_entropy(y, z, sample_weight=shares, loss=loss, return_grad=True)
                assert value == pytest.approx(expected, rel=1e-5)
                np.testing.assert_allclose(grad, slope, rtol=1e-4, atol=1e-6)


def test_products_of_weights_that_overflow_are_named():
    heavy = np.array([1.0, 1e300])
    for options in ({}, {"label_smoothing": 0.1}):
        with pytest.raises(ValueError, match=r"sample_weight times class_weight is inf in float64 \(row 1\)"):
            xe.cross_entropy(
                [0, 1], np.zeros((2, 2)), sample_weight=heavy, class_weight=heavy, reduction="sum", **options
            )
    with pytest.raises(ValueError, match=r"class_weight is inf in float64 \(row 1\)"):
        xe.cross_entropy(np.eye(2), np.zeros((2, 2)), sample_weight=heavy, class_weight=heavy, reduction="sum")
    with pytest.raises(ValueError, match=r"sample_weight times pos_weight is inf in float64 \(row 1\)"):
        xe.binary_cross_entropy([0, 1], np.zeros(2), sample_weight=heavy, pos_weight=1e300, reduction="sum")
    # where they do not meet in a row, they do not overflow
    value, grad = xe.cross_entropy(
        [1, 0], np.zeros((2, 2)), sample_weight=heavy, class_weight=heavy, reduction="sum", return_grad=True
    )
    assert value == pytest.approx(2e300 * np.log(2.0))
    np.testing.assert_allclose(grad, [[5e299, -5e299], [-5e299, 5e299]])
    value = xe.binary_cross_entropy([1, 0], np.zeros(2), sample_weight=heavy, pos_weight=1e300, reduction="sum")
    assert np.isfinite(value)


def test_a_mean_over_no_weight_is_zero_whatever_the_logits_are():
    value, grad = xe.cross_entropy(
        [0], [[np.nan, 1.0]], class_weight=[0.0, 1.0], label_smoothing=0.1, reduction="mean", return_grad=True
    )
    assert value == 0.0
    np.testing.assert_array_equal(grad, [[0.0, 0.0]])


@pytest.mark.parametrize("function", [xe.cross_entropy, xe.binary_cross_entropy])
def test_columns_of_targets_are_matched_to_those_of_logits(function):
    logits = pd.DataFrame([[2.0, -1.0, 0.5], [0.0, 1.0, 3.0]], columns=["dog", "cat", "bird"])
    target = pd.DataFrame([[0.2, 0.5, 0.3], [0.7, 0.1, 0.2]], columns=["bird", "dog", "cat"])
    expected, grad = function(target[logits.columns].to_numpy(), logits.to_numpy(), return_grad=True)
    value, found = function(target, logits, return_grad=True)
    assert value == expected
    np.testing.assert_array_equal(found, grad)
    for plain_logits in (logits.to_numpy(), logits.set_axis(range(3), axis=1)):  # which have no names
        assert function(target, plain_logits) == function(target.to_numpy(), plain_logits)
    with pytest.raises(ValueError, match="'fish' is none of them"):
        function(target.rename(columns={"cat": "fish"}), logits)
