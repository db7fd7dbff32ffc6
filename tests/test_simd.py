"""Vector exp, log, log1p and sigmoid agree with extended precision, and hot loops are vectors in the machine code."""

import re
import shutil
import subprocess

import numpy as np
import pytest

from xentropy._kernels import _dispatch
from xentropy._kernels._dispatch import available_isas, choose_isa, vector_exp, vector_log, vector_log1p
from xentropy._kernels._linear import linear_predict

REALS = [np.float32, np.float64]


@pytest.fixture(params=available_isas())
def isa(request):
    choose_isa(request.param)
    yield request.param
    choose_isa(_dispatch.ISA)


def ulps(got, exact):
    """The largest distance to the exact value, in units of the last place of `got`; specials must agree."""
    with np.errstate(over="ignore", under="ignore"):
        rounded = exact.astype(got.dtype)
    special = ~np.isfinite(rounded) | ~np.isfinite(got)
    # between the largest number and infinity, either may be the result
    near_the_end = np.abs(exact) >= np.finfo(got.dtype).max * (1 - 2 * np.finfo(got.dtype).eps)
    np.testing.assert_array_equal(got[special & ~near_the_end], rounded[special & ~near_the_end])
    spacing = np.spacing(np.abs(rounded[~special])).astype(np.longdouble)
    return float(np.max(np.abs(got[~special] - exact[~special]) / spacing))


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="long double is no wider than double here")
@pytest.mark.usefixtures("isa")
class TestAccuracy:
    @pytest.mark.parametrize("real", REALS)
    def test_exp_is_within_one_ulp(self, real):
        info = np.finfo(real)
        log_tiny = float(np.log(np.longdouble(info.smallest_subnormal)))
        rng = np.random.default_rng(0)
        x = np.concatenate([
            rng.uniform(log_tiny - 10, 0, 400_000),  # a logit minus the largest of its row is never above 0
            rng.uniform(-1, 0, 200_000),
            np.log(2) * (np.arange(-1080, 0) + 0.5),  # where the reduction changes to the next n
            rng.uniform(log_tiny, np.log(info.tiny), 50_000),  # results that are denormal
            -np.geomspace(info.smallest_subnormal * 4, 1, 10_000),
            [0.0, -0.0, log_tiny, -info.max, -np.inf],
        ]).astype(real)  # fmt: skip
        with np.errstate(under="ignore"):
            assert ulps(vector_exp(x), np.exp(x.astype(np.longdouble))) < 1
        assert vector_exp(np.array([0.0, -np.inf], dtype=real)).tolist() == [1.0, 0.0]

    @pytest.mark.parametrize("real", REALS)
    def test_exp_of_nan_is_nan_in_every_lane(self, real):
        for i in range(40):
            x = np.zeros(40, dtype=real)
            x[i] = np.nan
            assert list(np.flatnonzero(np.isnan(vector_exp(x)))) == [i]

    def test_log_is_within_one_ulp(self):
        info = np.finfo(float)
        rng = np.random.default_rng(0)
        x = np.concatenate([
            rng.uniform(0, 3, 400_000),
            np.exp2(rng.uniform(-1074, 1023, 200_000)),  # denormals among them
            1 + rng.uniform(-1, 1, 100_000) * np.exp2(rng.uniform(-52, -1, 100_000)),
            np.sqrt(2) * 2.0 ** np.arange(-1000, 1000),  # where the reduction changes to the next n
            [1.0, info.smallest_subnormal, info.tiny, np.nextafter(info.tiny, 0), info.max, 1 - info.epsneg],
        ])  # fmt: skip
        assert ulps(vector_log(x), np.log(x.astype(np.longdouble))) < 1
        np.testing.assert_array_equal(vector_log(np.array([0.0, 1.0, np.inf, np.nan])), [-np.inf, 0.0, np.inf, np.nan])

    def test_log1p_is_within_one_ulp(self):
        info = np.finfo(float)
        rng = np.random.default_rng(0)
        x = np.concatenate([
            rng.uniform(0, 3, 400_000),
            np.exp2(rng.uniform(-1070, 1023, 200_000)),
            np.sqrt(2) * 2.0 ** np.arange(-1, 60) - 1,
            [0.0, info.smallest_subnormal, info.tiny, 2.0**53 - 1, 2.0**53, 2.0**54, info.max, np.inf],
        ])  # fmt: skip
        assert ulps(vector_log1p(x), np.log1p(x.astype(np.longdouble))) < 1
        assert np.isnan(vector_log1p(np.array([0.0, np.nan]))).tolist() == [False, True]

    # it is computed in doubles for either type
    @pytest.mark.parametrize(("real", "bound"), [(np.float32, 0.51), (np.float64, 1.0)])
    def test_sigmoid(self, real, bound):
        rng = np.random.default_rng(0)
        z = np.concatenate([rng.uniform(-750, 750, 100_000), rng.normal(size=100_000), [0.0, np.inf, -np.inf]])
        z = z.astype(real)
        p, _ = linear_predict(z[:, None], np.ones((1, 1)), np.zeros(1), n_classes=2, compute=real.__name__)
        for k, sign in enumerate([-1, 1]):
            with np.errstate(over="ignore", under="ignore"):
                assert ulps(p[:, k], 1 / (1 + np.exp(-sign * z.astype(np.longdouble)))) < bound


# ---- the machine code ----

# The loops that an evaluation spends its time in, and the least number of their vector instructions of arithmetic. A
# loop that lost its vectors has fewer.
HOT = {"few_logits": 80, "few_gradient": 100, "stream_two_blocks": 250, "one_logits": 3, "exp_columns": 20,
       "scale_columns": 3, "many_logits": 24, "many_gradient": 30, "exp_wide": 40, "scale_row": 2, "finish_rows": 25,
       "sparse_logits": 300, "sparse_gradient": 80, "tile_logits": 40, "tile_gradient": 40, "sigmoid_losses": 100,
       "rows_are_fine": 10, "label_losses": 15, "label_loss": 12, "row_loss": 15, "mixed_sums": 8, "mixed_gradient": 8,
       "mix_columns": 20, "finish_mixed": 20, "scale_mixed": 8, "sigmoid_out": 20, "argmax_columns": 1,
       "moments": 4, "gram_block": 60}  # fmt: skip
REGISTER = {"avx512": "zmm", "avx2": "ymm", "baseline": "xmm"}
# these have short vectors, of 32 bytes at most
SHORT = ("stream_two_blocks", "one_logits", "sparse_logits", "sparse_gradient", "tile_logits", "tile_gradient")
PACKED = re.compile(r"\bv?(?:add|sub|mul|div|max|fn?m(?:add|sub)\d+)(p[sd])\b.*%(.mm)")
SCALAR = re.compile(r"\bv?(?:add|sub|mul|div|max|fn?m(?:add|sub)\d+)s[sd]\b")


@pytest.fixture(scope="module")
def functions():
    """The machine code of each function of the extension that has the kernels."""
    if not shutil.which("objdump"):
        pytest.skip("needs objdump")
    if not _dispatch.compiler().startswith("gcc"):
        pytest.skip("the counts in HOT are those of gcc's code")
    listing = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", _dispatch.__file__], capture_output=True, text=True, check=True
    ).stdout
    if "x86-64" not in listing[:200]:
        pytest.skip("the patterns are those of x86-64")
    code = {}
    for block in listing.split("\n\n"):
        name = re.match(r"[0-9a-f]+ <([^>]+)>:", block.lstrip())
        if name:
            code[name[1]] = block
    return code


@pytest.mark.parametrize("real", ["float", "double"])
@pytest.mark.parametrize("isa", available_isas())
@pytest.mark.parametrize("name", HOT)
def test_hot_loops_are_vectors(functions, name, isa, real):
    # the compiler may have split or specialised a function, as in name_double_avx2.isra.0
    code = "\n".join(c for f, c in functions.items() if f.split(".")[0] == f"{name}_{real}_{isa}")
    assert code, f"no machine code of {name}_{real}_{isa}: was it inlined, or the extension stripped?"
    register = "ymm" if isa == "avx512" and name in SHORT else REGISTER[isa]
    packed = sum(m[2] == register for m in PACKED.finditer(code))
    scalar = len(SCALAR.findall(code))
    assert packed >= HOT[name]
    assert packed > scalar, f"{packed} vector and {scalar} scalar instructions"


def test_the_pattern_tells_scalar_code_from_vectors():
    assert PACKED.search("  1: vfmadd231pd (%rsi,%rax,8),%zmm4,%zmm7")[2] == "zmm"
    assert PACKED.search("  1: mulps  %xmm1,%xmm0")
    assert SCALAR.search("  1: vfmadd231sd %xmm4,%xmm1,%xmm7")
    assert not PACKED.search("  1: vfmadd231sd %xmm4,%xmm1,%xmm7")


def stack_bytes(code):
    """What a function takes of the stack, by its machine code."""
    taken = [int(n, 16) for n in re.findall(r"\bsub +\$0x([0-9a-f]{1,7}),%rsp", code)]  # more digits are negative
    probed = [int(n, 16) for n in re.findall(r"\blea +-0x([0-9a-f]+)\(%rsp\),%r11", code)]  # page by page, in a loop
    return max([sum(taken), *probed])


def test_no_kernel_takes_much_of_the_stack(functions):
    """A user may have made it small for every thread, 32 KiB at the least: see threading.stack_size."""
    found = {name: stack_bytes(code) for name, code in functions.items()}
    assert len(found) > 100
    assert max(found.values()) > 1000  # or else the pattern finds nothing
    assert {name: n for name, n in found.items() if n > 16384} == {}
