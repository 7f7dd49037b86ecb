import json

from retrieval_bench.naming import change, index_labels


def test_an_index_alone_has_its_name() -> None:
    assert index_labels([("ivf", '{"nlist": 5}'), ("hnsw", '{"m": 16}')]) == {
        ("ivf", '{"nlist": 5}'): "ivf",
        ("hnsw", '{"m": 16}'): "hnsw",
    }


def test_two_names_of_one_backend_show_what_differs() -> None:
    thin, thick = ("hnsw", '{"ef": 200, "m": 16}'), ("hnsw_m32", '{"ef": 200, "m": 32}')
    backends = {"hnsw": "HNSW", "hnsw_m32": "HNSW"}
    assert index_labels([thin, thick], backends) == {thin: "hnsw (m=16)", thick: "hnsw_m32 (m=32)"}
    assert index_labels([thin, ("hnsw_m32", thin[1])], backends)[thin] == "hnsw", "they differ in efforts only"


def test_values_are_written_as_they_are_typed() -> None:
    params = ['{"n": null, "on": true, "w": "flat", "b": [1, 2]}', '{"n": 4, "on": false, "w": "pq", "b": [1]}']
    labels = list(index_labels([("ivf", p) for p in params]).values())
    assert labels == ["ivf (n=null, on=true, w=flat, b=[1,2])", "ivf (n=4, on=false, w=pq, b=[1])"]


def test_a_parameter_that_one_lacks_is_told_by_the_other() -> None:
    labels = index_labels([("a", '{"m": 1}'), ("a", '{"m": 1, "new": 2}')])
    assert list(labels.values()) == ["a", "a (new=2)"]


def test_a_change_names_both_sides() -> None:
    assert change("a", '{"m": 1, "n": 2}', '{"m": 3, "n": 2}') == "a (m=1 → 3)"
    assert change("a", "{}", "{}") == "a"


def test_an_index_inside_another_is_named() -> None:
    graph = {"_target_": "retrieval_bench.search.hnsw.HNSW", "m": 16}
    lists = {"_target_": "retrieval_bench.search.ivf.IVF", "nlist": None}
    thin, thick, other = (json.dumps({"factor": 8, "index": each}) for each in (graph, graph | {"m": 32}, lists))
    told = index_labels([("merge", thin), ("merge", thick), ("merge", other)])
    assert list(told.values()) == [
        "merge (index=hnsw, index.m=16)",
        "merge (index=hnsw, index.m=32)",
        "merge (index=ivf)",
    ]
    assert index_labels([("merge", thin), ("merge", thick)])["merge", thin] == "merge (index.m=16)"
    assert change("merge", thin, thick) == "merge (index.m=16 → 32)"
    assert change("own", '{"a": {"b": 1}}', '{"a": {"b": 2}}') == 'own (a={"b":1} → {"b":2})'
