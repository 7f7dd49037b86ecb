"""Fetching the official archive of a data set: resumed where it broke off, checked, unpacked whole or not at all."""

from __future__ import annotations

import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from errno import EDQUOT, ENOSPC
from hashlib import file_digest
from pathlib import Path, PurePosixPath

from retrieval_bench.data._checks import DATA_VARIABLE, need_path, need_root, shorten
from retrieval_bench.errors import BadConfig, CorruptInput, DataNotFound, MissingExtra, OutOfSpace

RETRIES = 5  # of one call, each after a longer wait
TIMEOUT = (10, 60)  # seconds for a connection, and between two pieces of the answer


@dataclass(frozen=True)
class Archive:
    """Where the official archive of a data set lies, and how to know it.

    Attributes:
        url: the archive itself. page: what its publisher says about it, for people.
        size: of the archive in bytes. sha256: of the archive, in hexadecimal digits; stated by a publisher or a
            well-kept library, never by us.
        holds: the folder that it unpacks to. marker: a file in that folder, by which it is known.
    """

    url: str
    page: str
    size: int
    sha256: str
    holds: str
    marker: str

    @property
    def file(self) -> str:
        """Name of the archive."""
        return PurePosixPath(self.url).name

    @property
    def offer(self) -> str:
        """What a download means, for a message."""
        return f"fetch it ({_bytes(self.size)}) from {self.page}"

    def within(self, place: Path) -> Path | None:
        """The unpacked data in a place, or the place itself if it is them."""
        # os.path: a folder that may not be entered is none of them, and no error.
        folders = (place / self.holds, place)
        return next((folder for folder in folders if os.path.exists(folder / self.marker)), None)  # noqa: PTH110


def need_data(root: str | None, layout: str, folders: Sequence[str], archive: Archive, download: bool) -> Path:
    """The data's folder: the one that the archive holds, whether root is it or holds it.

    Args:
        root, layout, folders: as for `need_root`.
        archive: what to fetch into root (made if missing) if the data are not there and `download` is true. Without
            root it goes into the first of `folders` inside the folder named by RETRIEVAL_BENCH_DATA.

    Raises:
        DataNotFound: as `need_root`, or the archive cannot be fetched.
        CorruptInput: what was fetched is not the archive. OutOfSpace: the disk is full. MissingExtra: see `fetch`.
    """
    place = _place(root, folders) if download else None
    if place is None:
        place = need_root(root, layout, folders)
        return archive.within(place) or place
    return fetch(archive, place)


def fetch(archive: Archive, place: Path) -> Path:
    """The archive's folder in a place; nothing is fetched if it is there, and nothing twice.

    The archive itself is kept beside it (delete it at will). One that lies there already, put there by hand, is taken.
    Two processes fetch once. Of what an archive holds beside its folder nothing is kept.

    Raises:
        DataNotFound: it cannot be fetched; what came is kept, and the next call goes on from there.
        CorruptInput: it is not the archive (kept under another name), or it would write outside its folder.
        OutOfSpace, BadConfig: the place is full, or cannot be written. MissingExtra: no library for downloads.
    """
    from filelock import FileLock

    there = archive.within(place)
    if there is not None:
        return there
    with _writing(place):
        place.mkdir(parents=True, exist_ok=True)
        with FileLock(place / f".{archive.holds}.lock"):
            there = archive.within(place)
            if there is None:
                _clear(archive, place)
                file = place / archive.file
                if not file.is_file():
                    _download(archive, file)
                with _busy(f"checking {file.name}"):
                    _check(archive, file)
                with _busy(f"unpacking {file.name}"):
                    there = _unpack(archive, file, place)
    return there


def _place(root: str | None, folders: Sequence[str]) -> Path | None:
    """Where to fetch to; none where nothing was said about it."""
    given, data = need_path("root", root), os.environ.get(DATA_VARIABLE)
    if given is not None:
        return Path(given).expanduser()
    if data is None:
        return None
    places = [Path(data) / folder for folder in folders]
    return next((place for place in places if place.is_dir()), places[0])


def _clear(archive: Archive, place: Path) -> None:
    """Refuse to unpack onto a folder of the same name that is something else, or was unpacked in part by hand."""
    folder = place / archive.holds
    if folder.exists():
        raise CorruptInput(
            f"{folder} is there, but without {archive.marker}; remove it, or type data.root=FOLDER for another place"
        )


def _download(archive: Archive, file: Path) -> None:
    """Fetch with a bar on standard error; tried again, each time from where it broke off."""
    try:
        import gdown
        from requests import RequestException
    except ImportError as error:
        raise MissingExtra("gdown", "download") from error
    for part in file.parent.glob(f"{file.name}{'?' * 8}.part"):  # as the library calls what it has so far
        if part.stat().st_size >= archive.size:  # all came, and then the process was killed
            part.replace(file)
            return
    with _bar(f"fetching {file.name}", archive.size) as shown:
        try:
            gdown.download(
                archive.url,
                str(file),
                quiet=True,
                resume=True,  # across calls, too
                use_cookies=False,
                user_agent="retrieval-bench",
                timeout=TIMEOUT,
                retries=RETRIES,
                progress=lambda done, total: shown(done),
            )
        except (gdown.exceptions.DownloadError, RequestException) as error:
            reason = str(error).partition("\n")[0].rstrip(".")
            raise DataNotFound(
                f"{archive.url} could not be fetched ({reason}); type the same command again: it goes on from where"
                f" this one stopped ({file}….part; remove that to begin anew). Or fetch it by hand, see {archive.page},"
                f" put it at {file}, and type the command again"
            ) from error


def _check(archive: Archive, file: Path) -> None:
    """Keep a file that is not the archive aside, and say what it is."""
    size = file.stat().st_size
    wrong = f"has {size:,} bytes; the archive has {archive.size:,}" if size != archive.size else ""
    if not wrong:
        with file.open("rb") as content:
            found = file_digest(content, "sha256").hexdigest()
        wrong = f"has the SHA-256 {found}; the archive has {archive.sha256}" if found != archive.sha256 else ""
    if wrong:
        aside = file.with_name(f"wrong-{file.name}")
        file.replace(aside)
        raise CorruptInput(
            f"{file.name} {wrong}. It is kept as {aside}: look at it (a page with an error message?), then type the"
            f" same command again; if that does not help, see {archive.page}"
        )


def _unpack(archive: Archive, file: Path, place: Path) -> Path:
    """In a folder of another name, which is then renamed: what was broken off leaves nothing that looks finished."""
    folder, part = place / archive.holds, place / f".{archive.holds}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        _extract(file, part)
        if not (part / archive.holds / archive.marker).exists():
            raise CorruptInput(f"{file} holds no {archive.holds}/{archive.marker}; see {archive.page}")
        (part / archive.holds).rename(folder)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise CorruptInput(f"{file} cannot be unpacked ({error}); remove it and type the same command again") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _extract(file: Path, part: Path) -> None:
    """Nothing may be written outside `part`, whatever the names in the archive say."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            outside = [name for name in archive.namelist() if name.startswith("/") or ".." in PurePosixPath(name).parts]
            if outside:
                raise CorruptInput(f"{file} would write outside its folder: {shorten(outside)}; do not use it")
            archive.extractall(part)
        return
    if getattr(tarfile, "data_filter", None) is None:  # the first releases of Python 3.11
        raise BadConfig(f"this Python cannot unpack {file} safely; install Python 3.11.4 or later")
    with tarfile.open(file) as archive:
        try:
            archive.extractall(part, filter="data")
        except tarfile.FilterError as error:
            raise CorruptInput(f"{file} would write outside its folder: {error}; do not use it") from error


@contextmanager
def _writing(place: Path) -> Iterator[None]:
    """A full disk, and a place that cannot be written, as errors that say what to type."""
    try:
        yield
    except OSError as error:
        if error.errno in (ENOSPC, EDQUOT):
            raise OutOfSpace(
                f"the disk of {place} is full; free some space, or type data.root=FOLDER for a folder on another disk"
            ) from error
        raise BadConfig(f"{place} cannot be written ({error}); type data.root=FOLDER") from error


@contextmanager
def _bar(what: str, size: int) -> Iterator[Callable[[int], None]]:
    """A function to tell how many bytes are there, which a terminal shows; a log file gets one line."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    if not console.is_terminal:
        console.print(f"{what} ({_bytes(size)})", highlight=False, soft_wrap=True)
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=size)
        yield lambda done: bar.update(task, completed=done)


@contextmanager
def _busy(what: str) -> Iterator[None]:
    """Says what takes so long, on standard error if that is a terminal."""
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield


def _bytes(size: int) -> str:
    """1,150,585,339 → 1.2 GB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
