from lab.scenes.classes import CLASSES, GROUP_OF_CLASS, GROUPS, NONE, SIGNS


def test_there_are_at_least_sixteen_classes_and_none() -> None:
    assert len(SIGNS) >= 16
    assert CLASSES[NONE] == "none"
    assert len(set(CLASSES)) == len(CLASSES) == len(SIGNS) + 1


def test_every_group_holds_classes_that_only_the_glyph_tells_apart() -> None:
    assert len(GROUP_OF_CLASS) == len(CLASSES)
    assert GROUP_OF_CLASS[NONE] == 0
    for group in range(1, len(GROUPS)):
        assert GROUP_OF_CLASS.count(group) >= 2
