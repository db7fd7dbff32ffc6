"""check_dist.py FOLDER SDIST WHEEL: whether the two hold what they should, and nothing else."""

import sys
import tarfile
import zipfile
from pathlib import Path

folder, sdist, wheel = map(Path, sys.argv[1:])
sources = {str(path.relative_to(folder)) for path in (folder / "xentropy").rglob("*") if path.is_file()}
python = {name for name in sources if name.endswith((".py", ".pyi", "py.typed"))}
compiled = {name.removesuffix(".pyx") for name in sources if name.endswith(".pyx")}

with tarfile.open(sdist) as archive:
    in_sdist = {name.partition("/")[2] for name in archive.getnames()}
with zipfile.ZipFile(wheel) as archive:
    in_wheel = set(archive.namelist())
    (info,) = {name.partition("/")[0] for name in in_wheel if ".dist-info/" in name}
    metadata = archive.read(f"{info}/METADATA").decode()
modules = {name for name in in_wheel if name.endswith((".so", ".pyd"))}

faults = [f"sdist lacks {name}" for name in sources - in_sdist]
faults += [f"sdist lacks {name}" for name in {"LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml"} - in_sdist]
faults += [f"wheel lacks {name}" for name in python - in_wheel]
faults += [f"wheel lacks the module {name}" for name in compiled - {name.partition(".")[0] for name in modules}]
faults += [f"wheel holds {n}" for n in in_wheel - python - modules if not n.startswith(f"{info}/")]
faults += [f"wheel lacks its {n}" for n in ("licenses/LICENSE", "entry_points.txt") if f"{info}/{n}" not in in_wheel]
faults += [f"metadata lack {x!r}" for x in ("Name: xentropy", "License-Expression: BSD-3-Clause") if x not in metadata]
print("\n".join(sorted(faults)) or f"{len(in_sdist)} entries in {sdist.name}, {len(in_wheel)} in {wheel.name}")
sys.exit(bool(faults))
