"""Prints the configuration, for bug reports and to see whether the fast kernels are used."""

import platform
from importlib.metadata import version

from ._kernels import _dispatch
from ._kernels._threads import effective_n_threads, has_openmp


def show_config() -> None:
    """Print the instruction set, the number of threads and the build that the kernels use.

    The environment variable ``XENTROPY_ISA`` is read at import and forces one of the available instruction sets.
    Results of different instruction sets may differ in their last bits.

    Examples
    --------
    >>> import xentropy as xe
    >>> xe.show_config()  # doctest: +ELLIPSIS
    xentropy ...
    instruction set: ... (available: ...)
    threads: ...
    built with: ...
    python ..., numpy ..., scipy ..., scikit-learn ...
    """
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "scikit-learn"))
    openmp = "OpenMP" if has_openmp() else "built without OpenMP"
    print(f"xentropy {version('xentropy')}")
    print(f"instruction set: {_dispatch.ISA} (available: {', '.join(_dispatch.available_isas())})")
    print(f"threads: {effective_n_threads()} ({openmp})")
    print(f"built with: {_dispatch.compiler()}")
    print(f"python {platform.python_version()}, {packages}")
