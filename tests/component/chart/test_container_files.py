"""The image has what the operator needs. No container engine runs here: its steps are taken one by one."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from voxfleet_dev.locations import REPOSITORY

COPY = re.compile(r"^COPY (?!--from)(\S+) (\S+)$", re.MULTILINE)


def test_what_is_copied_is_there_and_not_ignored() -> None:
    ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
    sources = [source for source, _ in COPY.findall((REPOSITORY / "Containerfile").read_text())]
    assert len(sources) == 9
    for source in sources:
        assert (REPOSITORY / source).exists() and f"!{source.split('/')[0]}" in ignored, source


def test_the_copied_packages_are_all_that_the_operator_imports(tmp_path: Path) -> None:
    """Of this repository: that the lock has the others is what its --extra says."""
    for source, target in COPY.findall((REPOSITORY / "Containerfile").read_text()):
        if "/packages/" in target:
            shutil.copytree(REPOSITORY / source, tmp_path / Path(target).name)
    code = (
        "import sys\n"
        f"sys.path = [{str(tmp_path)!r}] + [path for path in sys.path if {str(REPOSITORY)!r} + '/' not in path + '/'"
        " or 'site-packages' in path]\n"
        "import voxfleet_operator.main, voxfleet_operator.command, voxfleet_gateway.main, voxfleet_cli.main\n"
        "ours = {name: module.__file__ for name, module in sys.modules.items() if name.startswith('voxfleet_')}\n"
        f"print([name for name, file in ours.items() if not str(file).startswith({str(tmp_path)!r})])\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_the_image_s_lock_has_what_the_operator_requires_in_the_tested_versions() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    required = [*project["dependencies"], *project["optional-dependencies"]["operator"]]
    tested, image = (locked(REPOSITORY / name) for name in ("requirements.lock", "requirements-operator.lock"))
    missing = {re.split(r"[^\w.-]", line)[0] for line in required} - image.keys()
    assert missing == set(), "run: make lock"
    assert {name: version for name, version in image.items() if tested.get(name) != version} == {}


def locked(file: Path) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==([^\s;\\]+)", file.read_text(), re.MULTILINE))
