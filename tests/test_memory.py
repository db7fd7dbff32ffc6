"""What a fit takes besides X: labels, blocks and the optimiser's vectors, and never a copy of X."""

import json
import os
import subprocess
import sys

import pytest

from xentropy._lbfgs import _MEMORY

ROWS, FEATURES, CLASSES = 200_000, 64, 8

# The peak of resident memory since it was reset, over what was resident then: see proc(5), clear_refs.
MEASURE = f"""
import json, warnings
import numpy as np
import scipy.sparse as sp
from threadpoolctl import threadpool_limits
from xentropy import SoftmaxClassifier

def resident(what):
    line = next(line for line in open("/proc/self/status") if line.startswith(what))
    return 1024 * int(line.split()[1])

def extra(X):
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = resident("VmRSS")
    SoftmaxClassifier(max_iter=3).fit(X, y)
    return resident("VmHWM") - before

warnings.simplefilter("ignore")  # three iterations are no fit
rng = np.random.default_rng(0)
y = rng.integers(0, {CLASSES}, {ROWS})
X = {{}}
X["float32"] = rng.standard_normal(({ROWS}, {FEATURES}), dtype=np.float32)
X["float64"] = X["float32"].astype(np.float64)
X["csr"] = sp.csr_matrix(X["float64"])
X["a copy"] = np.asfortranarray(X["float32"])
with threadpool_limits(1):
    SoftmaxClassifier(max_iter=3).fit(X["float32"][:1000], y[:1000])  # what the first fit of a process loads
    print(json.dumps({{name: extra(it) for name, it in X.items()}}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_x_is_not_copied():
    # what is freed goes back to the system: or else arrays would lie where others have been, and show in no peak
    env = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run([sys.executable, "-P", "-c", MEASURE], capture_output=True, text=True, env=env)
    if "/proc/self/clear_refs" in done.stderr and "Error" in done.stderr:
        pytest.skip(done.stderr.splitlines()[-1])
    assert done.returncode == 0, done.stderr
    extra = json.loads(done.stdout)
    vectors = (2 * _MEMORY + 12) * 8 * CLASSES * (FEATURES + 1)
    most, copy = 5e6 + vectors, 4 * ROWS * FEATURES
    assert extra["a copy"] > copy > 2 * most  # or else a copy would not show
    assert extra["float32"] < most
    assert extra["float64"] < most
    assert extra["csr"] < 2 * copy  # its values are float64; a block of its rows is there as CSR and as an array
