import numpy as np
import pytest

from retrieval_bench.data.digits import Digits
from retrieval_bench.errors import BadConfig


def test_sizes_and_classes_are_those_of_the_source():
    data = Digits()
    assert (len(data.train()), len(data.validation()), len(data.gallery())) == (537, 364, 896)
    assert [set(part.labels) for part in (data.train(), data.validation(), data.gallery())] == [
        {0, 1, 2},
        {3, 4},
        {5, 6, 7, 8, 9},
    ]


def test_every_query_is_a_gallery_item_and_ignores_only_itself():
    data = Digits(n_test=50)
    assert data.queries() is data.gallery()
    truth = data.truth()
    assert truth.query_ids.tolist() == truth.gallery_ids.tolist()
    assert truth.query_groups is None


def test_images_are_the_source_enlarged():
    from sklearn.datasets import load_digits

    items = Digits(image_size=32).train()
    image = items.read(0)["image"]
    assert image.shape == (32, 32, 3)
    assert image.dtype == np.uint8
    source = load_digits()
    first = np.flatnonzero(source.target < 3)[0]
    np.testing.assert_array_equal(image[::4, ::4, 1], np.round(source.images[first] * 255 / 16))
    np.testing.assert_array_equal(image[3::4, 3::4, 2], image[::4, ::4, 0])


def test_a_small_run_has_as_many_of_each_digit():
    items = Digits(n_test=50).gallery()
    assert np.bincount(items.labels)[5:].tolist() == [10] * 5
    everything = dict(zip(Digits().gallery().keys, Digits().gallery().ids, strict=True))
    assert [everything[key] for key in items.keys] == items.ids.tolist()


def test_fingerprints_tell_sizes_and_parts_apart():
    prints = {Digits(image_size=s, n_test=n).gallery().fingerprint for s in (32, 40) for n in (None, 50)}
    assert len(prints) == 4
    assert Digits().gallery().fingerprint == Digits().gallery().fingerprint


@pytest.mark.parametrize("wrong", [{"image_size": 7}, {"n_test": 9}, {"n_test": 897}, {"n_test": "abc"}])
def test_wrong_numbers_are_refused(wrong):
    with pytest.raises(BadConfig, match=f"data.{next(iter(wrong))}="):
        Digits(**wrong)


def test_a_word_for_a_number_is_told_what_to_type():
    with pytest.raises(BadConfig) as caught:
        Digits(n_test="abc")
    assert str(caught.value) == "data.n_test=abc: type a whole number from 10 to 896, or null: all 896"
