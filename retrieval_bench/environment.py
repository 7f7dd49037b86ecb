"""What numbers are measured with and on."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

_LIBRARIES = (
    *("retrieval-bench", "hydra-core", "torch", "torchvision", "timm", "openvino", "pytorch-lightning", "faiss-cpu"),
    *("numpy", "scipy", "numba", "pandas", "pillow", "simplejpeg", "matplotlib", "h5py"),
)


def environment() -> dict[str, Any]:
    """What the numbers were measured with and on."""
    from joblib import cpu_count

    def version(library: str) -> str | None:
        try:
            return metadata.version(library)
        except metadata.PackageNotFoundError:
            return None

    return {
        "git_commit": _git_commit(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}},
        "cpu": processor(),
        "cores": cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
    }


def processor() -> str:
    """Name of this machine's processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _git_commit() -> str | None:
    """Commit of the checkout that the package runs from; none when it is installed."""
    here = Path(__file__).resolve().parent.parent
    if not (here / ".git").exists():
        return None
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
