"""MinHash LSH of our own: token sets of dense vectors in banded hash tables, candidates re-ranked exactly."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval_bench.search import _bands, _filtered, _minhash, _tokens
from retrieval_bench.search._minhash_index import QUERIES_A_TASK, Parts, Scratch, collect, search
from retrieval_bench.search.base import Family, Index
from retrieval_bench.types import Similarity


class MinHashLSH(Index):
    similarities = frozenset(Similarity)
    family = Family.LSH
    knob = "tables"
    def __init__(self, tokenizer: str = "kmeans_words", centroids: int | None = None, tokens: int | None = None,
        permutations: int = 128, bands: int = 32, band_rows: int = 2, efforts: Sequence[int] = (1, 2, 4, 8, 16, 32)) -> None:
        self.tokenizer=_tokens.Tokenizer(tokenizer); self.centroids=centroids; self.tokens=tokens
        self.permutations, self.bands, self.band_rows = permutations, bands, band_rows
        self.efforts=tuple(efforts); self._threads=1

    def build(self, vectors, similarity, seed):
        import time
        t=[time.perf_counter()]
        vocabulary=_tokens.fit(vectors, similarity, self.tokenizer, self.centroids, self.tokens, seed)
        t.append(time.perf_counter())
        kept = np.ascontiguousarray(vectors, None if vectors.dtype==np.uint8 else np.float32)
        tokens=np.empty((len(kept), vocabulary.size), np.int32)
        for s in range(0,len(kept),4096):
            _tokens.tokenize_all(kept[s:s+4096].astype(np.float32), vocabulary, tokens[s:s+4096])
        t.append(time.perf_counter())
        order=np.lexsort((tokens[:,min(1,tokens.shape[1]-1)],tokens[:,0])).astype(np.int32)
        kept, tokens = kept[order], tokens[order]
        permutation=np.ascontiguousarray(_minhash.permutations(self.permutations, seed))
        t.append(time.perf_counter())
        sig=_minhash.signatures(vocabulary.hashes[tokens], np.ascontiguousarray(permutation[:, :self.bands*self.band_rows]))
        t.append(time.perf_counter())
        bands=_bands.build(sig,self.bands,self.band_rows)
        t.append(time.perf_counter())
        g=_filtered.gallery(kept,similarity)
        t.append(time.perf_counter())
        self.times=dict(zip(('fit','tokens','order','sign','bands','codes'),np.diff(t).round(2).tolist()))
        mixed=vocabulary._replace(hashes=_minhash.mixed(vocabulary.hashes))
        self.parts=Parts(mixed,permutation,bands,g,order); self.scratch=Scratch.of(len(kept))

    def search(self, queries, k, effort):
        rows=np.empty((len(queries),k),np.int64); scores=np.empty((len(queries),k),np.float32); self.counts=np.empty(len(queries),np.int64)
        search(queries,self.parts,min(effort,self.bands),self.scratch,rows,scores,self.counts)
        return rows,scores
    def save(self,path): pass
    def load(self,path): pass
