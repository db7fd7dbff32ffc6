"""oldest.py PYPROJECT: the runtime dependencies at the lowest version that they allow, as constraints for pip."""

import re
import sys
import tomllib
from pathlib import Path

for requirement in tomllib.loads(Path(sys.argv[1]).read_text())["project"]["dependencies"]:
    name, floor = re.fullmatch(r"([\w.-]+)>=([\d.]+)", requirement).groups()
    print(f"{name}=={floor}")
