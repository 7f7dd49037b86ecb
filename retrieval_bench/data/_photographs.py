"""The photographs that ship inside the scikit-image wheel (never its downloads)."""

from __future__ import annotations

from functools import cache
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

from retrieval_bench.errors import DataNotFound


def _path(name: str) -> Path:
    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        raise DataNotFound("scikit-image is not installed; type: pip install scikit-image")
    found = sorted((Path(spec.origin).parent / "data").glob(f"{name}.*"))
    if not found:
        raise DataNotFound(f"this scikit-image has no photograph {name!r}; type: pip install 'scikit-image>=0.24'")
    return found[0]


@cache
def photograph(name: str, side: int | None = None) -> Image.Image:
    """One photograph as an RGB image, shrunk to a shorter side in pixels if asked. Never changed by its users.

    Raises:
        DataNotFound: the installed scikit-image does not bring it.
    """
    if side is not None:
        image = photograph(name)
        scale = min(1.0, side / min(image.size))
        return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    return Image.open(_path(name)).convert("RGB")


@cache
def digest(names: tuple[str, ...]) -> str:
    """Digest of the decoded pixels (the JPEG decoder has a say in them)."""
    total = blake2b(digest_size=8)
    for name in names:
        total.update(photograph(name).tobytes())
    return total.hexdigest()
