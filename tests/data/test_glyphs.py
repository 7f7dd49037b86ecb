import numpy as np
import pytest

from retrieval_bench.data import _fonts
from retrieval_bench.data._glyph import Painter, versions
from retrieval_bench.data._rendered import remembered
from retrieval_bench.data.glyphs import PHOTOGRAPHS, SHARES, Glyphs
from retrieval_bench.errors import BadConfig

SMALL = {"n_classes": 20, "image_size": 48}
pytestmark = pytest.mark.xdist_group("glyphs")  # outlines of all characters are compared once


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def shapes(cache):
    return remembered(cache, "glyphs-shapes", versions(), _fonts.shapes)


@pytest.fixture(scope="module")
def small(cache, shapes):
    return Glyphs(cache, **SMALL)


def faces(items):
    return {(label, key.split("/")[1]) for label, key in zip(items.labels.tolist(), items.keys, strict=True)}


@pytest.mark.parametrize("same", ["AΑА", "oοо", "-\u2010\u2011", "TΤТ", "sѕ", "xˣₓ", "8⁸₈"])
def test_characters_with_one_outline_are_one_shape(shapes, same):
    (home,) = [shape for shape in shapes if ord(same[0]) in shape]
    assert {ord(c) for c in same} <= set(home)


@pytest.mark.parametrize("other", ["AB", "ÁÀ", "ÀÂ", "nη", "OQ", "O0", "eé", "ij", "bd", "pq", "69", "<>"])
def test_characters_with_other_outlines_are_other_shapes(shapes, other):
    homes = [shape for shape in shapes if ord(other[0]) in shape or ord(other[1]) in shape]
    assert len(homes) == 2


def test_shapes_part_the_inked_characters(shapes):
    points = [point for shape in shapes for point in shape]
    assert len(points) == len(set(points))
    assert set(points) <= set(_fonts.characters())
    assert not {0x20, 0xA0, 0x2003} & set(points)
    assert len(shapes) > 2000
    assert all(len(found) >= _fonts.MIN_FACES for found in _fonts.characters().values())


def test_parts_share_no_class_and_no_photograph(small):
    train, validation, test = (set(p.labels.tolist()) for p in (small.train(), small.validation(), small.gallery()))
    assert (len(train), len(validation), len(test)) == (6, 2, 12)
    assert len(train | validation | test) == 20
    names = [name for part in PHOTOGRAPHS.values() for name in part]
    assert len(names) == len(set(names))
    assert sum(SHARES.values()) == pytest.approx(1)


def test_faces_of_queries_are_not_in_the_gallery_of_their_class(small):
    queries, gallery = small.queries(), small.gallery()
    assert not faces(queries) & faces(gallery)
    assert np.unique(queries.labels, return_counts=True)[1].tolist() == [4] * 12
    assert (np.unique(gallery.labels, return_counts=True)[1] >= 6).all()
    assert not set(queries.ids.tolist()) & set(gallery.ids.tolist())
    truth = small.truth()
    assert truth.query_labels is queries.labels
    assert truth.gallery_labels is gallery.labels


def test_two_renders_give_the_same_bytes(small, shapes, tmp_path):
    remembered(str(tmp_path), "glyphs-shapes", versions(), lambda: shapes)
    again = Glyphs(str(tmp_path), **SMALL)
    assert again.gallery().keys == small.gallery().keys
    assert again.gallery().fingerprint == small.gallery().fingerprint
    np.testing.assert_array_equal(again.gallery().read(7)["image"], small.gallery().read(7)["image"])


def test_seed_strength_and_size_change_the_images(cache, shapes, small):
    others = [{"seed": 1}, {"strength": 0.5}, {"image_size": 50}, {"per_face": 2}, {"query_faces": 3}]
    prints = {Glyphs(cache, **{**SMALL, **other}).queries().fingerprint for other in others}
    assert len(prints | {small.queries().fingerprint}) == 6


def test_more_images_of_a_face_keep_the_ones_there_were(cache, shapes, small):
    more = Glyphs(cache, **SMALL, per_face=2)
    queries, rows = small.queries(), {key: row for row, key in enumerate(more.queries().keys)}
    assert len(more.queries()) == 2 * len(queries)
    np.testing.assert_array_equal(queries.read(5)["image"], more.queries().read(rows[queries.keys[5]])["image"])


def test_ink_is_darker_and_inside_without_distortion():
    image = Painter(PHOTOGRAPHS["test"], 112, 0.0, 0)(ord("H"), "DejaVuSans", "x").astype(int).mean(axis=2)
    dark = image < 127
    rows, columns = np.flatnonzero(dark.any(axis=1)), np.flatnonzero(dark.any(axis=0))
    assert rows[-1] - rows[0] + 1 == pytest.approx(0.7 * 112, abs=2)
    assert rows[0] + rows[-1] == pytest.approx(111, abs=2)
    assert columns[0] + columns[-1] == pytest.approx(111, abs=2)
    assert image[0, 0] - image[56, columns[0] + 3] == pytest.approx(155, abs=4)


def test_protocol_says_what_was_drawn(small):
    protocol = small.protocol
    assert protocol["n_classes"] == {"train": 6, "validation": 2, "test": 12}
    assert (protocol["n_queries"], protocol["n_gallery"]) == (48, len(small.gallery()))
    assert set(protocol["drawn_with"]) == {"recipe", "fonts", "matplotlib", "pillow", "freetype", "numpy"}


@pytest.mark.parametrize("wrong", [{"image_size": 8}, {"n_classes": 4}, {"query_faces": 9}, {"strength": -1.0}])
def test_wrong_numbers_are_refused(wrong, tmp_path):
    with pytest.raises(BadConfig, match=f"data.{next(iter(wrong))}="):
        Glyphs(str(tmp_path), **wrong)
