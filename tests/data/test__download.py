"""Archives from a small server of our own: whole, broken off, wrong, and already there."""

from __future__ import annotations

import builtins
import contextlib
import hashlib
import io
import random
import re
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from retrieval_bench.commands import main
from retrieval_bench.data import _download, cifar100, cub200, sop
from retrieval_bench.data._download import Archive, fetch, need_data
from retrieval_bench.data.cifar100 import Cifar100
from retrieval_bench.errors import BadConfig, CorruptInput, DataNotFound, MissingExtra, OutOfSpace

FILLING = np.random.default_rng(0).integers(0, 256, 3_000_000, np.uint8).tobytes()  # does not shrink when packed
PIECE = 2**19  # the library keeps whole pieces of this size
MEMBERS = {"set/list.txt": b"a\n", "set/deep/a.bin": FILLING, "beside.txt": b"not wanted"}


class Server:
    """Serves one file at any path. `cuts`: after how many bytes each of the next answers breaks off."""

    def __init__(self) -> None:
        self.content = b""
        self.cuts: list[int] = []
        self.status = 0  # of an error to answer with
        self.ranges = True
        self.asked: list[str | None] = []  # range of each request for the content
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def _handler(server) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                pass

            def do_HEAD(self) -> None:
                self._head(0)

            def do_GET(self) -> None:
                asked = self.headers.get("Range") if server.ranges else None
                server.asked.append(self.headers.get("Range"))
                start = int(re.match(r"bytes=(\d+)-", asked).group(1)) if asked else 0
                if self._head(start):
                    end = start + server.cuts.pop(0) if server.cuts else None
                    with contextlib.suppress(ConnectionError):  # the client may ask, look at the head and hang up
                        self.wfile.write(server.content[start:end])

            def _head(self, start: int) -> bool:
                if server.status:
                    self.send_error(server.status)
                    return False
                if start >= len(server.content) > 0:
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(server.content)}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return False
                self.send_response(206 if start else 200)
                if server.ranges:
                    self.send_header("Accept-Ranges", "bytes")
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
                self.send_header("Content-Length", str(len(server.content) - start))
                self.end_headers()
                return True

        return Handler


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the tries of one call."""
    monkeypatch.setattr(random, "uniform", lambda low, high: 0.0)


def packed(members: dict[str, bytes], kind: str = "tgz") -> bytes:
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return buffer.getvalue()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def offered(server: Server, members: dict[str, bytes] = MEMBERS, kind: str = "tgz") -> Archive:
    """An archive that the server has."""
    server.content = packed(members, kind)
    return Archive(
        url=f"{server.url}/some/set.{kind}",
        page="example.org/set",
        size=len(server.content),
        sha256=hashlib.sha256(server.content).hexdigest(),
        holds="set",
        marker="list.txt",
    )


def names(place: Path) -> set[str]:
    """Files in a folder, but for the lock."""
    return {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()} - {".set.lock"}


@pytest.mark.parametrize("kind", ["tgz", "zip"])
def test_fetched_checked_and_unpacked(server: Server, tmp_path: Path, kind: str) -> None:
    archive, place = offered(server, kind=kind), tmp_path / "new" / "folder"
    assert fetch(archive, place) == place / "set"
    assert (place / "set" / "deep" / "a.bin").read_bytes() == FILLING
    assert names(place) == {"set/deep/a.bin", "set/list.txt", f"set.{kind}"}
    assert server.asked == [None]


def test_what_is_there_is_not_fetched(server: Server, tmp_path: Path) -> None:
    archive = offered(server)
    fetch(archive, tmp_path)
    (tmp_path / "set" / "mine.txt").touch()
    assert fetch(archive, tmp_path) == tmp_path / "set"
    assert fetch(archive, tmp_path / "set") == tmp_path / "set"
    assert (tmp_path / "set" / "mine.txt").exists()
    assert len(server.asked) == 1


def test_an_archive_put_there_by_hand_is_taken(server: Server, tmp_path: Path) -> None:
    archive = offered(server)
    (tmp_path / "set.tgz").write_bytes(server.content)
    assert (fetch(archive, tmp_path) / "list.txt").read_bytes() == b"a\n"
    assert server.asked == []


def test_broken_connections_are_resumed(server: Server, tmp_path: Path) -> None:
    archive = offered(server)
    server.cuts = [2 * PIECE, PIECE, 0, PIECE]
    assert (fetch(archive, tmp_path) / "deep" / "a.bin").read_bytes() == FILLING
    assert server.asked == [None, *(f"bytes={pieces * PIECE}-" for pieces in (2, 3, 3, 4))]
    assert names(tmp_path) == {"set/deep/a.bin", "set/list.txt", "set.tgz"}


def test_a_later_call_goes_on_where_an_earlier_one_gave_up(server: Server, tmp_path: Path) -> None:
    archive = offered(server)
    server.cuts = [2 * PIECE] + [0] * 50
    with pytest.raises(DataNotFound, match=r"set\.tgz could not be fetched .* type the same command again") as caught:
        fetch(archive, tmp_path)
    assert "example.org/set" in str(caught.value)
    assert not (tmp_path / "set").exists() and not (tmp_path / "set.tgz").exists()
    server.cuts, server.asked = [], []
    assert (fetch(archive, tmp_path) / "deep" / "a.bin").read_bytes() == FILLING
    assert [asked for asked in server.asked if asked] == [f"bytes={2 * PIECE}-"]


def test_a_server_that_knows_no_ranges(server: Server, tmp_path: Path) -> None:
    archive = offered(server)
    server.ranges = False
    server.cuts = [1_000_000]
    with pytest.raises(DataNotFound, match=r"range.*set\.tgz….part; remove that to begin anew"):
        fetch(archive, tmp_path)
    for part in tmp_path.glob("*.part"):
        part.unlink()
    assert (fetch(archive, tmp_path) / "deep" / "a.bin").read_bytes() == FILLING


def test_a_download_that_was_killed_when_all_was_there(server: Server, tmp_path: Path) -> None:
    archive = offered(server)
    (tmp_path / "set.tgzabcd1234.part").write_bytes(server.content)
    assert (fetch(archive, tmp_path) / "deep" / "a.bin").read_bytes() == FILLING
    assert server.asked == []


def test_another_content_is_kept_aside(server: Server, tmp_path: Path) -> None:
    archive = offered(server)
    true = server.content
    server.content = true[:-1] + bytes([true[-1] ^ 1])
    with pytest.raises(CorruptInput, match=r"set\.tgz has the SHA-256 [0-9a-f]{64}; the archive has [0-9a-f]{64}\. It"):
        fetch(archive, tmp_path)
    assert names(tmp_path) == {"wrong-set.tgz"}
    assert (tmp_path / "wrong-set.tgz").read_bytes() == server.content
    server.content = true
    assert (fetch(archive, tmp_path) / "list.txt").exists()  # the next call fetches the archive anew, and all of it
    assert server.asked == [None, None]


def test_another_size_is_kept_aside(server: Server, tmp_path: Path) -> None:
    archive = offered(server)
    server.content = b"<html>moved</html>"
    with pytest.raises(CorruptInput, match=r"set\.tgz has 18 bytes; the archive has 3,0\d\d,\d\d\d\. It is kept as .*"):
        fetch(archive, tmp_path)
    assert (tmp_path / "wrong-set.tgz").read_bytes() == b"<html>moved</html>"


@pytest.mark.parametrize("status", [404, 503])
def test_a_server_that_refuses(server: Server, tmp_path: Path, status: int) -> None:
    archive = offered(server)
    server.status = status
    with pytest.raises(DataNotFound, match=rf"set\.tgz could not be fetched \(.*{status}.*example\.org/set"):
        fetch(archive, tmp_path)
    assert names(tmp_path) == set()


def test_no_server(tmp_path: Path) -> None:
    archive = Archive("http://127.0.0.1:9/set.tgz", "example.org/set", 1, "0" * 64, "set", "list.txt")
    with pytest.raises(DataNotFound, match=r"127\.0\.0\.1:9/set\.tgz could not be fetched"):
        fetch(archive, tmp_path)


@pytest.mark.parametrize("kind", ["tgz", "zip"])
def test_an_archive_that_writes_elsewhere(server: Server, tmp_path: Path, kind: str) -> None:
    archive = offered(server, {**MEMBERS, "../evil.txt": b"x"}, kind)
    with pytest.raises(CorruptInput, match="would write outside its folder"):
        fetch(archive, tmp_path / "place")
    assert not (tmp_path / "evil.txt").exists()
    assert names(tmp_path / "place") == {f"set.{kind}"}


def test_an_archive_with_a_link_that_leads_out(server: Server, tmp_path: Path) -> None:
    archive = offered(server)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as out:
        link = tarfile.TarInfo("set")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        out.addfile(link)
    server.content = buffer.getvalue()
    archive = Archive(
        archive.url, archive.page, len(server.content), hashlib.sha256(server.content).hexdigest(), "set", "list.txt"
    )
    with pytest.raises(CorruptInput, match="would write outside its folder"):
        fetch(archive, tmp_path / "place")


@pytest.mark.parametrize("content", [b"no archive at all", packed({"other/list.txt": b""})], ids=["text", "other"])
def test_the_right_bytes_that_are_no_such_archive(server: Server, tmp_path: Path, content: bytes) -> None:
    server.content = content
    digest = hashlib.sha256(content).hexdigest()
    archive = Archive(f"{server.url}/set.tgz", "example.org/set", len(content), digest, "set", "list.txt")
    with pytest.raises(CorruptInput, match=r"cannot be unpacked|holds no set/list\.txt"):
        fetch(archive, tmp_path)
    assert names(tmp_path) == {"set.tgz"}


def test_a_folder_of_that_name_is_not_overwritten(server: Server, tmp_path: Path) -> None:
    archive = offered(server)
    (tmp_path / "set").mkdir()
    with pytest.raises(CorruptInput, match=r"set is there, but without list\.txt; remove it"):
        fetch(archive, tmp_path)
    assert server.asked == []


def test_a_place_that_is_a_file(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadConfig, match=r"cannot be written .*type data\.root=FOLDER"):
        fetch(offered(server), tmp_path / "file")


def test_a_full_disk(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: Path, part: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_download, "_extract", full)
    with pytest.raises(OutOfSpace, match="is full; free some space"):
        fetch(offered(server), tmp_path)
    assert names(tmp_path) == {"set.tgz"}


def test_without_the_library(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[..., object] = builtins.__import__

    def none(name: str, *args: object) -> object:
        if name == "gdown":
            raise ModuleNotFoundError(name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", none)
    with pytest.raises(MissingExtra, match=r"pip install 'retrieval-bench\[download\]'"):
        fetch(offered(server), tmp_path)


def test_two_threads_fetch_once(server: Server, tmp_path: Path) -> None:
    archive = offered(server)
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(fetch(archive, tmp_path))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [tmp_path / "set"] * 2
    assert server.asked == [None]


def test_where_it_is_fetched_to(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = offered(server)
    with pytest.raises(DataNotFound, match=r"data\.root is not set; type data\.root=FOLDER, so and so"):
        need_data(None, "so and so", ("a", "b"), archive, True)
    monkeypatch.setenv("RETRIEVAL_BENCH_DATA", str(tmp_path))
    assert need_data(None, "", ("a", "b"), archive, True) == tmp_path / "a" / "set"
    assert need_data(None, "", ("a", "b"), archive, False) == tmp_path / "a" / "set"
    (tmp_path / "a").rename(tmp_path / "b")
    assert need_data(None, "", ("a", "b"), archive, True) == tmp_path / "b" / "set"
    assert need_data(str(tmp_path / "c"), "", ("a", "b"), archive, True) == tmp_path / "c" / "set"
    with pytest.raises(DataNotFound, match="is not a folder"):
        need_data(str(tmp_path / "d"), "", ("a", "b"), archive, False)


@pytest.fixture
def cifar(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server has a small CIFAR-100."""
    records = np.zeros((100, 3074), np.uint8)
    records[:, 1] = np.arange(100)
    members = {f"cifar-100-binary/{file}.bin": records.tobytes() for file in ("train", "test")}
    server.content = packed(members)
    digest = hashlib.sha256(server.content).hexdigest()
    archive = Archive(
        f"{server.url}/cifar-100-binary.tar.gz", "", len(server.content), digest, "cifar-100-binary", "train.bin"
    )
    monkeypatch.setattr(cifar100, "ARCHIVE", archive)


@pytest.mark.usefixtures("cifar")
def test_a_data_set_fetches_itself(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataNotFound):
        Cifar100(str(tmp_path / "here"), check_sizes=False)
    data = Cifar100(str(tmp_path / "here"), check_sizes=False, download=True)
    assert len(data.gallery()) == 40
    assert Cifar100(str(tmp_path / "here"), check_sizes=False).gallery().fingerprint == data.gallery().fingerprint
    assert server.asked == [None]


@pytest.mark.slow
@pytest.mark.usefixtures("cifar")
def test_prepare_fetches_what_may_be_fetched(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # a table that is cut off nowhere
    root = f"data.root={tmp_path / 'here'}"
    for _ in range(2):
        assert main(["data", "prepare", "data=cifar100", root, "data.check_sizes=false"]) == 0
        assert "cifar100 is ready: {'split': 'classes 80–99 test" in capsys.readouterr().out
    assert server.asked == [None]
    assert main(["data", "prepare", "data=cifar100", root]) == 1
    assert "it has 100 images in train.bin and 100 in test.bin" in capsys.readouterr().out
    assert main(["data", "prepare", "data=inshop"]) == 1
    assert "It cannot be downloaded for you" in capsys.readouterr().out
    assert main(["data", "list"]) == 0
    assert capsys.readouterr().out.count("`data prepare`") == 3


@pytest.mark.parametrize("module", [cub200, sop, cifar100], ids=lambda module: module.__name__.split(".")[-1])
def test_what_is_stated_of_each_archive(module: ModuleType) -> None:
    archive = module.ARCHIVE
    assert re.fullmatch("[0-9a-f]{64}", archive.sha256)
    assert re.fullmatch(r"https?://\S+/[\w-]+\.(tgz|tar\.gz|zip)", archive.url)
    assert archive.offer in module.LAYOUT
