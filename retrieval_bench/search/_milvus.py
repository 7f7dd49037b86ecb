"""What the index types of Milvus share: one adapter for an embedded database (Milvus Lite), a server and a cluster."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time
import weakref
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.errors import BadConfig, CorruptInput, IndexGone, MissingExtra, RetrievalBenchError, WorkerFailed
from retrieval_bench.search.base import Family, Index
from retrieval_bench.types import Similarity

FACTS, DATABASE, VECTOR = "facts.json", "milvus.db", "vector"
PREFIX = "retrieval_bench_"  # of every collection, so that those of killed runs can be found and dropped
SCHEMES = ("http", "https", "tcp", "unix")
BATCH_BYTES = 16 * 2**20  # of vectors or answers in one message; servers refuse 64 MB
DEEPEST = 16_384  # Milvus' own limit of k
POLL_S, TELL_S = 0.02, 5.0
NEVER_MS = 2**31 - 1


class MilvusIndex(Index):
    """A collection of Milvus, and one index over it (Wang et al. 2021).

    Args:
        uri: none = Milvus Lite, a database file of this worker's own; `folder/name.db` = the same, the file in that
            folder while the run lasts; `http://host:19530` = a server or a cluster.
        token_env: name of the environment variable that holds the token (`user:password`); none = no token.
        keep: leave the collection on the server when all is measured. All are named `retrieval_bench_…`.
        connect_s: seconds to wait for a server. timeout_s: seconds of one insert or search, the client's repeats
            included. retries: of a flush and of a load, which may take as long as they need.

    Milvus Lite runs in this process and spends milliseconds a query on bookkeeping in Python: `functional`.
    """

    similarities = frozenset(Similarity)
    family = Family.SERVER
    library = "pymilvus"
    compares_all: ClassVar[bool] = False  # FLAT: Milvus Lite then holds queries × gallery × dim floats at once

    def __init__(  # noqa: PLR0917
        self, uri: str | None, token_env: str | None, keep: bool, connect_s: float, timeout_s: float, retries: int
    ) -> None:
        if min(connect_s, timeout_s) <= 0 or retries < 0:
            raise BadConfig(
                f"connect_s={connect_s}, timeout_s={timeout_s}, retries={retries}: more than 0 seconds and at least 0"
                " retries are needed"
            )
        scheme = "" if uri is None else urlsplit(uri).scheme.lower()
        if uri is not None and scheme not in SCHEMES and not (scheme == "" and uri.endswith(".db")):
            raise BadConfig(f"uri={uri}: http://host:19530, a file name.db, or null (Milvus Lite) is needed")
        self.remote = scheme in SCHEMES
        self.functional = not self.remote
        try:
            import grpc
            import milvus_lite.server_manager
            import pymilvus
        except ImportError as error:
            raise MissingExtra("pymilvus", "milvus") from error
        self._pymilvus: Any = pymilvus
        self._errors = (pymilvus.MilvusException, grpc.RpcError)  # pymilvus lets a time-out of gRPC through as it is
        self._lite: Any = milvus_lite.server_manager.server_manager_instance
        self.uri, self.token_env, self.keep = uri, token_env, keep
        self.connect_s, self.timeout_s, self.retries = connect_s, timeout_s, retries
        self._client: Any = None
        self._name, self._similarity, self._n, self._dim = "", Similarity.COSINE, 0, 0
        self._file: Path | None = None  # of Milvus Lite
        self._scratch: Path | None = None  # a folder that goes when the index is closed

    @abstractmethod
    def _kind(self) -> tuple[str, dict[str, int]]:
        """Milvus' name of the index type, and its build parameters."""

    @abstractmethod
    def _asked(self, k: int, effort: int | None) -> dict[str, int]:
        """Milvus' search parameters."""

    # Connection

    @property
    def _where(self) -> str:
        return f"Milvus at {self.uri}" if self.remote else f"Milvus Lite in {self._file}"

    def _token(self) -> str:
        if self.token_env is None:
            return ""
        token = os.environ.get(self.token_env, "")
        if not token:
            raise BadConfig(
                f"token_env={self.token_env}: there is no such environment variable; type"
                f" export {self.token_env}=user:password"
            )
        return token

    def _connect(self, file: Path | None) -> None:
        """Open a client of the server, or of the database file.

        Raises:
            BadConfig: nobody answers, or the token is refused.
        """
        self._file = file
        token, target = self._token(), self.uri if file is None else str(file)
        options = {} if file is None else {"grpc.keepalive_time_ms": NEVER_MS}  # Milvus Lite hangs up on its pings
        try:
            client = self._pymilvus.MilvusClient(target, token=token, timeout=self.connect_s, grpc_options=options)
            self._client = client
            self._client.list_collections(timeout=self.connect_s)  # also a wrong token is found out now
        except self._pymilvus.MilvusException as error:
            told = " ".join(str(error.message).split())
            if not self.remote:
                raise WorkerFailed(f"{self._where} cannot be opened (another process may hold it): {told}") from error
            if "UNAUTHENTICATED" in str(error.__cause__):  # which pymilvus itself reports as an unreachable server
                name = self.token_env or "MILVUS_TOKEN"
                raise BadConfig(
                    f"{self._where} refuses the token of token_env={self.token_env}; type export {name}=user:password"
                    f" and token_env={name} of this backend"
                ) from error
            raise BadConfig(
                f"{self._where} does not answer ({told}); start it (milvus-server --data"
                " DIR), mend uri=…, or type uri=null for Milvus Lite"
            ) from error

    @contextlib.contextmanager
    def _telling(self, doing: str) -> Iterator[None]:
        """Say in one line which Milvus failed, and in what."""
        try:
            yield
        except self._errors as error:
            told = " ".join(str(getattr(error, "message", None) or error.details()).split())[:500]
            hint = "; look whether it is up, then type the same command" if self.remote else ""
            if "DEADLINE_EXCEEDED" in str(error):
                hint = f"; raise timeout_s={self.timeout_s:g} of this backend"
            raise WorkerFailed(f"{self._where} failed in {doing}: {told}{hint}") from error

    # Index

    def build(self, vectors: NDArray[np.generic], similarity: Similarity, seed: int) -> None:
        """Insert the gallery [n, dim] in batches, seal it, index it, load it. Milvus takes no seed.

        Raises:
            BadConfig: nobody answers, or the token is refused. WorkerFailed: Milvus failed, by a full disk, say;
            nothing is left behind that could still be dropped.
        """
        try:
            self._build(vectors, similarity)
        except RetrievalBenchError:
            with contextlib.suppress(WorkerFailed):
                self._release(drop=True)
            raise

    def _build(self, vectors: NDArray[np.generic], similarity: Similarity) -> None:
        self._similarity, (self._n, self._dim) = similarity, vectors.shape
        self._name = f"{PREFIX}{time.strftime('%Y%m%d_%H%M%S')}_{uuid4().hex[:12]}"
        self._connect(None if self.remote else self._new_file())
        kind, parameters = self._kind()
        metric = "L2" if similarity is Similarity.EUCLIDEAN else "IP"  # vectors are of unit length under cosine
        with self._telling("build"):
            client, types = self._client, self._pymilvus.DataType
            schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
            schema.add_field("row", types.INT64, is_primary=True)
            schema.add_field(VECTOR, types.FLOAT_VECTOR, dim=max(2, self._dim))
            client.create_collection(self._name, schema=schema, timeout=self.timeout_s)
            self._insert(vectors)
            client.flush(self._name, retry_times=self.retries)
            index = client.prepare_index_params()
            # pymilvus flattens what it is given; Milvus Lite reads a nested form only, and else takes its own defaults.
            given = parameters if self.remote else {"params": parameters}
            index.add_index(VECTOR, index_type=kind, metric_type=metric, params=given)
            client.create_index(self._name, index, timeout=self.timeout_s, sync=False)
            self._wait_for_index(len(vectors))
            client.load_collection(self._name, retry_times=self.retries)

    def _new_file(self) -> Path:
        """Where Milvus Lite works: a file that no other worker uses."""
        if self.uri is None:
            self._scratch = Path(tempfile.mkdtemp(prefix=PREFIX))
            weakref.finalize(self, shutil.rmtree, self._scratch, ignore_errors=True)  # also where nobody closes it
            return self._scratch / DATABASE
        given = Path(self.uri).absolute()
        if not given.parent.is_dir():
            raise BadConfig(f"uri={self.uri}: there is no folder {given.parent}; create it, or type uri=null")
        self._scratch = given.with_name(f"{given.stem}-{uuid4().hex[:12]}.db")
        return self._scratch

    def _insert(self, vectors: NDArray[np.generic]) -> None:
        step = max(1, BATCH_BYTES // (4 * max(2, self._dim)))
        told = time.monotonic()
        for start in range(0, len(vectors), step):
            block = self._padded(np.ascontiguousarray(vectors[start : start + step], np.float32))
            rows = [{"row": start + i, VECTOR: one} for i, one in enumerate(block)]
            self._client.insert(self._name, rows, timeout=self.timeout_s)
            if time.monotonic() - told > TELL_S or start + step >= len(vectors):
                told = time.monotonic()
                print(f"{self._where}: {start + len(block):,} of {len(vectors):,} vectors inserted", flush=True)

    def _wait_for_index(self, n: int) -> None:
        """The client's own wait looks twice a second only."""
        told = time.monotonic()
        while True:
            state = self._client.describe_index(self._name, VECTOR, timeout=self.timeout_s)
            if str(state.get("state", "Finished")) == "Failed":
                raise WorkerFailed(f"{self._where} could not build the index: {state.get('index_state_fail_reason')}")
            if int(state.get("pending_index_rows", 0)) == 0 and str(state.get("state", "Finished")) == "Finished":
                return
            if time.monotonic() - told > TELL_S:
                told = time.monotonic()
                print(f"{self._where}: {state.get('indexed_rows', 0):,} of {n:,} vectors indexed", flush=True)
            time.sleep(POLL_S)

    def _padded(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Milvus knows no vectors of one dimension; a second one of zero changes no similarity."""
        return np.pad(block, ((0, 0), (0, 1))) if self._dim == 1 else block

    def search(
        self, queries: NDArray[np.float32], k: int, effort: int | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """As in `Index`. Costs one call of pymilvus for up to 16 MB of queries or answers, and their lists to arrays.

        Raises:
            BadConfig: k is more than Milvus allows. WorkerFailed: the server does not answer.
        """
        if k > DEEPEST:
            raise BadConfig(f"k={k} with the ignored ids: Milvus returns at most {DEEPEST:,} a query; ask for less")
        rows, scores = np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), -np.inf, np.float32)
        widest = max(4 * self._dim, 12 * k, 4 * self._dim * self._n * (self.compares_all and not self.remote))
        step = max(1, BATCH_BYTES // max(1, widest))
        parameters = {"params": self._asked(k, effort)}
        for start in range(0, len(queries), step):
            block = list(self._padded(queries[start : start + step]))
            with self._telling("search"):
                found = self._client.search(
                    self._name,
                    block,
                    limit=k,
                    search_params=parameters,
                    anns_field=VECTOR,
                    timeout=self.timeout_s,
                    consistency_level="Eventually",  # nothing is inserted any more, so nothing is to be waited for
                )
            for i, hits in enumerate(found, start):
                rows[i, : len(hits)], scores[i, : len(hits)] = hits.ids, hits.distances
        if self._similarity is Similarity.EUCLIDEAN:  # Milvus answers with squared distances
            found_any = rows >= 0
            scores[found_any] = -np.sqrt(np.maximum(scores[found_any], 0))
        return rows, scores

    def save(self, path: Path) -> None:
        """Write `facts.json`, and for Milvus Lite the database `milvus.db`, into the folder."""
        facts = {"collection": self._name, "similarity": self._similarity, "n": self._n, "dim": self._dim}
        (path / FACTS).write_text(json.dumps(facts), encoding="utf-8")
        if self._file is not None:
            shutil.copytree(self._file, path / DATABASE, ignore=shutil.ignore_patterns("LOCK"))

    def load(self, path: Path) -> None:
        """Open the saved database in place, or find the collection on the server.

        Raises:
            CorruptInput: the folder holds no saved index. IndexGone: the server has no such collection any more.
        """
        if not (path / FACTS).exists() or not (self.remote or (path / DATABASE).is_dir()):
            raise CorruptInput(f"{path} holds no saved Milvus index; delete the folder and run again")
        facts = json.loads((path / FACTS).read_text(encoding="utf-8"))
        self._name, self._n, self._dim = facts["collection"], facts["n"], facts["dim"]
        self._similarity = Similarity(facts["similarity"])
        self._connect(None if self.remote else path / DATABASE)
        with self._telling("load"):
            if not self._client.has_collection(self._name, timeout=self.timeout_s):
                raise IndexGone(f"{self._where} has no collection {self._name} any more; type force=true")
            self._client.load_collection(self._name, retry_times=self.retries)

    def close(self) -> None:
        """Drop the collection of a server unless it is kept; release Milvus Lite and its working file."""
        self._release(drop=not self.keep)

    def _release(self, drop: bool) -> None:
        client, self._client = self._client, None
        if client is not None and self.remote and drop and self._name:
            with self._telling("drop"):
                client.drop_collection(self._name, timeout=self.timeout_s)
        if client is not None:
            client.close()
        if self._file is not None:
            self._lite.release_server(str(self._file))
            self._file = None
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None
