"""Environments of the clients: their pins need not agree with ours, so each lives in a folder of its own.

Made once under `var/test-envs` and kept; a stamp says what was asked for, and another wish makes it anew.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2] / "var" / "test-envs"
PINS: Final[dict[str, tuple[str, ...]]] = {
    "tritonclient": ("tritonclient[http,grpc]==2.73.*",),
    "kserve": ("kserve==0.21.*",),
    "evidently": ("evidently==0.7.*", "pandas==2.3.*"),
}


def python(name: str) -> str:
    """The interpreter of an environment, which is made when it is not there as pinned; an install that fails raises `CalledProcessError`."""
    folder, wish = ROOT / name, "\n".join((*PINS[name], sys.version))
    stamp, found = folder / "installed.txt", folder / "bin" / "python"
    if not stamp.exists() or stamp.read_text() != wish:
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
        pip = [sys.executable, "-m", "pip", "--python", str(found), "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "-qq", *PINS[name]], check=True)
        stamp.write_text(wish)
    return str(found)  # not resolved: that would be the interpreter it was made from
