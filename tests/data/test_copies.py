import numpy as np
import pytest
from PIL import Image

from retrieval_bench.data._edit import LIMITS, Strength, edit
from retrieval_bench.data.base import item_id
from retrieval_bench.data.copies import PHOTOGRAPHS, Copies, Tile, distinct
from retrieval_bench.errors import BadConfig

SMALL = {"image_size": 32, "tile": 128, "n_gallery": 500, "variants": 1}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def small(cache):
    return Copies(cache, **SMALL)


def test_every_copy_has_its_own_source_and_nothing_else(small):
    queries, gallery, truth = small.queries(), small.gallery(), small.truth()
    names = dict(zip(gallery.ids.tolist(), gallery.keys, strict=True))
    for key, relevant in zip(queries.keys, truth.relevant, strict=True):
        assert [names[found] for found in relevant.tolist()] == [key.rsplit("/", 2)[0]]
    assert len(gallery) == 500


def test_parts_share_no_photograph(small):
    names = [name for part in PHOTOGRAPHS.values() for name in part]
    assert len(names) == len(set(names))
    assert "motorcycle_right" not in names
    train = {key.split("/")[0] for key in small.train().keys}
    assert train <= set(PHOTOGRAPHS["train"])
    assert not train & {key.split("/")[0] for key in small.gallery().keys}


def test_sources_and_grounds_of_distractors_are_disjoint_tiles(small):
    sources = {key for key in small.gallery().keys if not key.startswith("distractor")}
    tiles = [tile.key for tile in small._tiles("test")]
    assert len(tiles) == len(set(tiles))
    assert sources == set(tiles[::2])


def test_one_strength_gives_the_same_queries_alone(small, cache):
    mild = Copies(cache, **SMALL, strength="mild")
    rows = {key: row for row, key in enumerate(small.queries().keys)}
    assert len(rows) == 3 * len(mild.queries())
    assert all("/mild/" in key for key in mild.queries().keys)
    for row, key in enumerate(mild.queries().keys):
        np.testing.assert_array_equal(mild.queries().read(row)["image"], small.queries().read(rows[key])["image"])
    assert mild.protocol["strengths"] == ["mild"]
    assert mild.gallery().fingerprint == small.gallery().fingerprint


def test_a_stronger_copy_is_farther_from_its_source():
    tile = Copies("unused")._tiles("test")[0].image
    source = np.asarray(tile.resize((112, 112)), np.float64)
    apart = [
        np.mean([np.abs(np.asarray(edit(tile, s, 112, np.random.default_rng(i))) - source).mean() for i in range(20)])
        for s in Strength
    ]
    assert apart[0] < apart[1] < apart[2]
    assert list(LIMITS) == list(Strength)


def test_an_edit_never_sees_beside_the_tile():
    white = Image.new("RGB", (64, 64), (200, 200, 200))
    rng = np.random.default_rng(0)
    for _ in range(50):  # a pixel from outside would be black
        assert np.asarray(edit(white, Strength.MILD, 112, rng)).min() > 140


def test_two_renders_give_the_same_bytes(small, tmp_path):
    again = Copies(str(tmp_path), **SMALL)
    assert again.gallery().fingerprint == small.gallery().fingerprint
    assert again.queries().fingerprint == small.queries().fingerprint


def test_training_items_are_labelled_by_tile(small):
    items = small.train()
    assert items.labels is not None
    places = {}
    for key, label in zip(items.keys, items.labels.tolist(), strict=True):
        places.setdefault(label, set()).add(key.rsplit("/", 1)[0])
    assert all(len(found) == 1 for found in places.values())
    assert np.unique(items.labels, return_counts=True)[1].tolist() == [25] * len(places)


def test_blank_and_near_identical_tiles_are_dropped():
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    noisy, blank = Image.fromarray(pixels), Image.new("RGB", (16, 16), (90, 90, 90))
    brighter = Image.fromarray((pixels * 0.9).astype(np.uint8))
    other = Image.fromarray(pixels[::-1].copy())
    tiles = [Tile("p", 0, i, image) for i, image in enumerate((noisy, blank, brighter, other))]
    assert [tile.column for tile in distinct(tiles)] == [0, 3]


def test_ids_are_those_of_the_keys(small):
    assert small.gallery().ids[0] == item_id(small.gallery().keys[0])


@pytest.mark.parametrize("wrong", [{"tile": 8}, {"n_gallery": 1}, {"variants": 0}, {"strength": "weak"}])
def test_wrong_values_are_refused(wrong):
    with pytest.raises(BadConfig, match=f"data.{next(iter(wrong))}="):
        Copies("unused", **wrong)
