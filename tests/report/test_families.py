from typing import Any

import pytest

from retrieval_bench.report.families import COLOURS, by_family, family, functional, styles
from retrieval_bench.search.base import Family


def row(index: str, kind: Any) -> dict[str, Any]:
    return {"index": index, "family": kind}


def test_every_family_has_a_colour_of_its_own() -> None:
    assert set(COLOURS) == set(Family)
    assert len(set(COLOURS.values())) == len(Family)


@pytest.mark.parametrize("value", [None, float("nan"), "unheard of", 3])
def test_what_no_version_knows_is_other(value: Any) -> None:
    assert family(row("a", value)) is Family.OTHER


def test_families_stand_in_a_fixed_order_and_rows_in_theirs() -> None:
    rows = [row("l2", "LSH"), row("g", "graph"), row("l1", "LSH"), row("e", "exact")]
    found = by_family(rows)
    assert [(str(kind), [one["index"] for one in members]) for kind, members in found] == [
        ("exact", ["e"]), ("graph", ["g"]), ("LSH", ["l2", "l1"]),
    ]  # fmt: skip


def test_indexes_of_a_family_share_a_hue_and_nothing_else() -> None:
    found = styles([row(f"l{i}", "LSH") for i in range(5)] + [row("g", "graph")])
    assert found["g"].colour == "#0072b2"
    assert found["l0"].colour == "#cc79a7"
    assert len({look.colour for look in found.values()}) == 6
    assert len({look.marker for look in found.values()}) == 6


def test_several_exact_indexes_are_no_two_blacks() -> None:
    found = styles([row(f"e{i}", "exact") for i in range(5)])
    assert len({look.colour for look in found.values()}) == 5


def test_only_a_true_flag_keeps_a_latency_from_being_ranked() -> None:
    assert [functional({"functional": value}) for value in (True, 1.0, False, None, float("nan"))] == [
        True, True, False, False, False,
    ]  # fmt: skip
