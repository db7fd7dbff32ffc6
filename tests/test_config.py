"""Check show_config, and XENTROPY_ISA at import."""

import os
import subprocess
import sys

import pytest

import xentropy as xe
from xentropy._kernels import _dispatch


def run(code, isa):
    return subprocess.run(
        [sys.executable, "-P", "-c", code], env={**os.environ, "XENTROPY_ISA": isa}, capture_output=True, text=True
    )


def test_show_config(capsys):
    xe.show_config()
    out = capsys.readouterr().out
    assert f"xentropy {xe.__version__}\n" in out
    assert f"instruction set: {_dispatch.ISA} (available: " in out
    assert "threads: " in out


def test_baseline_is_always_there():
    assert _dispatch.available_isas()[-1] == "baseline"


@pytest.mark.parametrize("isa", _dispatch.available_isas())
def test_an_instruction_set_can_be_forced(isa):
    result = run("import xentropy; xentropy.show_config()", isa)
    assert f"instruction set: {isa} " in result.stdout, result.stderr


def test_empty_means_the_best():
    best = _dispatch.available_isas()[0]
    assert f"instruction set: {best} " in run("import xentropy; xentropy.show_config()", "").stdout


def test_an_unknown_instruction_set_is_an_error_that_names_the_choices():
    result = run("import xentropy", "sse9")
    assert result.returncode != 0
    assert "XENTROPY_ISA='sse9' is not available here; choose one of [" in result.stderr
    assert "'baseline'" in result.stderr
