"""Some cases of each kind. ``python tests/fuzz`` runs as many as there is time for: see CONTRIBUTING.md."""

import signal
import subprocess
import sys
from pathlib import Path

import kinds
import pytest

# About a second of each kind.
CASES = {
    "cross_entropy": 100, "binary_cross_entropy": 100, "softmax": 150, "linear_cross_entropy": 100, "metrics": 80,
    "containers": 100, "csr": 200, "fits": 120, "label_fits": 60, "attributes": 200, "pages": 200, "misfits": 200,
    "interrupts": 40, "threads": 2, "forks": 4, "memory": 8, "leaks": 2,
}  # fmt: skip
HERE = Path(__file__).parent
linux = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for memory")


def in_a_new_process(*arguments):
    return subprocess.run([sys.executable, "-P", *arguments], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("kind", sorted(set(kinds.KINDS) - {"memory"}))
def test_cases_of_each_kind(kind):
    before = kinds.canary()
    for index in range(CASES[kind]):
        kinds.one_case(kind, 0, index)
    assert kinds.canary() == before


@linux
def test_limits_of_memory_in_a_process_of_their_own():
    done = in_a_new_process(str(HERE), "memory", "--cases", str(CASES["memory"]))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{CASES['memory']} cases    0 failed" in done.stdout


def test_a_failed_case_says_how_to_run_it_again(monkeypatch):
    def fails(rng):
        assert rng.random() < 0

    monkeypatch.setitem(kinds.KINDS, "softmax", fails)
    with pytest.raises(AssertionError) as failed:
        kinds.one_case("softmax", 3, 17)
    assert failed.value.__notes__ == ["to run this case again: python tests/fuzz softmax --seed 3 --case 17"]


@linux
@pytest.mark.parametrize(("at_end", "step"), [(True, "a[8]"), (False, "a[-1]")])
def test_a_byte_too_far_ends_the_process(at_end, step):
    read = f"""
import sys, ctypes, numpy as np
sys.path[:0] = [{str(HERE)!r}, {str(HERE.parent)!r}]
from pages import beside_a_guard
there = beside_a_guard(np.arange(8.0), at_end={at_end})
a = ctypes.cast(there.ctypes.data, ctypes.POINTER(ctypes.c_double))
print(a[0], a[7], flush=True)
print({step})
"""
    done = in_a_new_process("-c", read)
    assert done.stdout == "0.0 7.0\n"
    assert done.returncode == -signal.SIGSEGV
