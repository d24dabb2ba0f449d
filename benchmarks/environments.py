"""Environments of the peers: each pins versions that need not agree with ours, so each lives in a folder of its own.

Made once under `var/bench/envs` and kept; a stamp says what was asked for, and another wish makes it anew.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.report import FOLDER
from cluster.errors import Unavailable

_MODEL: Final = ("onnxruntime==1.32.0", "numpy==2.4.6")
PINS: Final[dict[str, tuple[str, ...]]] = {
    "bare": ("uvicorn[standard]==0.54.0", "granian[uvloop]==2.8.7", "msgspec==0.22.0", *_MODEL),
    "bentoml": ("bentoml==1.4.39", *_MODEL),
    "drift": ("evidently==0.7.23", "river==0.26.1", "pandas==2.3.3", "plotly==5.24.1", "pyarrow==26.0.1"),  # Evidently refuses pandas 3
    "litserve": ("litserve==0.2.19", *_MODEL),
    "mlserver": ("mlserver==1.7.1", "uvloop==0.21.0", *_MODEL),  # its workers do not start with a later uvloop
}
"""What each holds; what it brings along is the newest that fits on the day it is made."""
_TIMEOUT_S: Final = 900


def python(name: str, *, root: Path = FOLDER / "envs") -> str:
    """The interpreter of an environment, which is made when it is not there as pinned.

    Raises
    ------
    Unavailable
        With the end of pip's message, when it cannot be made.
    """
    folder, wish = root / name, "\n".join(PINS[name])
    stamp, found = folder / "installed.txt", folder / "bin" / "python"
    if not stamp.exists() or stamp.read_text() != wish:
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        _run([sys.executable, "-m", "venv", str(folder)], name)
        _run([str(found), "-m", "pip", "install", "-qq", "--disable-pip-version-check", *PINS[name]], name)
        stamp.write_text(wish)
    return str(found.absolute())  # not resolved: that would be the interpreter it was made from


def _run(command: Sequence[str], name: str) -> None:
    try:
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"the environment '{name}' was not made within {_TIMEOUT_S} s") from error
    if ended.returncode:
        said = [line for line in (ended.stderr + ended.stdout).strip().splitlines() if line.strip()]
        raise Unavailable(f"the environment '{name}' cannot be made: {' '.join(said[-2:]) or 'no message'}")
