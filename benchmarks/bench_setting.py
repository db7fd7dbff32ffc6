"""What the numbers of a run were taken with: asv keeps the parameters of a benchmark beside its results."""

from importlib.metadata import PackageNotFoundError, version

from xentropy._kernels import _dispatch

from .problems import ROWS


def _versions() -> list[str]:
    versions = []
    for name in ("xentropy", "scikit-learn", "numpy", "scipy", "torch"):
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:  # PyTorch is compared with only where it is installed
            continue
    return versions


class Setting:
    params = ([", ".join([_dispatch.ISA, _dispatch.compiler(), *_versions()])],)
    param_names = ("setting",)

    def track_share_of_rows(self, setting):
        return ROWS
