"""All that is compiled. It knows arrays and rows, not estimators or penalties."""

from importlib.util import find_spec
from pathlib import Path

if find_spec(f"{__name__}._dispatch") is None:
    raise ImportError(
        f"xentropy was imported from {Path(__file__).parents[2]}, which holds its sources but no compiled modules: "
        "install it with `pip install .`, and start Python in another folder, or by a console script (`xentropy`, "
        "`pytest`)."
    )
