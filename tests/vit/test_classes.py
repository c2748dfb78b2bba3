import pytest

from schemas.errors import ModelError
from vit.classes import classes_hash, imagenet_names, imagenet_synsets, same_classes


@pytest.mark.slow
def test_imagenet_names_stand_in_the_order_of_the_classifier_and_are_all_different() -> None:
    names, synsets = imagenet_names(), imagenet_synsets()
    assert len(names) == len(set(names)) == len(set(synsets)) == 1000
    assert (names[0], synsets[0]) == ("tench", "n01440764")
    assert (names[999], synsets[999]) == ("toilet tissue", "n15075141")


@pytest.mark.slow
def test_classes_that_share_their_name_carry_their_wordnet_id() -> None:
    assert [name for name in imagenet_names() if name.startswith("crane (")] == [
        "crane (n02012849)",
        "crane (n03126707)",
    ]


def test_the_hash_ties_to_names_and_order_and_not_to_how_names_are_cut() -> None:
    assert classes_hash(("a", "b")) != classes_hash(("b", "a"))
    assert classes_hash(("a\n1:b",)) != classes_hash(("a", "b"))
    assert classes_hash(["a", "b"]) == classes_hash(("a", "b"))
    assert len(classes_hash(())) == 16


def test_different_lists_are_refused_naming_the_first_difference() -> None:
    same_classes(("car", "bus"), ("car", "bus"))
    with pytest.raises(
        ModelError, match=r"class 1 is 'bus' for the edge's model .* and 'tram' for the server's"
    ):
        same_classes(("car", "bus"), ("car", "tram"))
    with pytest.raises(ModelError, match=r"class 1 is 'bus' .* and missing"):
        same_classes(("car", "bus"), ("car",))
