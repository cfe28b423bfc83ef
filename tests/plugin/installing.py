"""Install the plugins of this folder without a network: the files and the metadata that an installer would write."""

import shutil
import tomllib
from pathlib import Path

HERE = Path(__file__).parent


def install(plugin, folder):
    """Put a plugin into a folder, to be put on sys.path."""
    project = tomllib.loads((HERE / plugin / "pyproject.toml").read_text())["project"]
    folder.mkdir(exist_ok=True)
    for file in (HERE / plugin).glob("*.py"):
        shutil.copy(file, folder)
    metadata = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = project["entry-points"].items()
    lines = (f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in points.items()) for group, points in groups)
    (metadata / "entry_points.txt").write_text("\n".join(lines))
