"""oldest.py PYPROJECT: the runtime dependencies at the lowest version that they allow, as constraints for pip, and what
the tests need with them."""

import re
import sys
import tomllib
from pathlib import Path

for requirement in tomllib.loads(Path(sys.argv[1]).read_text())["project"]["dependencies"]:
    name, floor = re.fullmatch(r"([\w.-]+)>=([\d.]+)", requirement).groups()
    print(f"{name}=={floor}")

print("pyarrow<22")  # later ones need NumPy 2, and pip does not know
