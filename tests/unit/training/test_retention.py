"""Which checkpoints stay."""

from rayograph.training.checkpoints.retention import Retention

FIGURES = {0: None, 100: 0.5, 200: 0.4, 300: 0.6, 400: 0.1, 500: 0.9, 600: 0.8}


def test_the_newest_stay() -> None:
    assert Retention(last=2).kept(FIGURES) == {500, 600}


def test_one_every_so_many_images_stays_and_never_the_untrained() -> None:
    assert Retention(last=1, every=200).kept(FIGURES) == {200, 400, 600}
    assert Retention(last=1, every=250).kept(FIGURES) == {300, 500, 600}  # the first at or behind a multiple


def test_the_best_stay() -> None:
    assert Retention(last=1, best=2).kept(FIGURES) == {200, 400, 600}


def test_fewer_than_asked_for_all_stay() -> None:
    assert Retention(last=9, best=9).kept(FIGURES) == set(FIGURES)


def test_snapshots_are_told_by_their_own_distance() -> None:
    assert Retention(last=1, snapshots=300).snapshots_of(FIGURES) == {300, 600}
    assert Retention(last=1).snapshots_of(FIGURES) == set()


def test_a_checkpoint_just_behind_one_that_stayed_does_not_stay() -> None:
    """Intervals are not even where batches do not divide them, and a stop makes one anywhere."""
    assert Retention(last=1, every=2048).kept(dict.fromkeys((1024, 2048, 3008, 4032, 4096, 5056))) == {2048, 4096, 5056}
    assert Retention(last=1, every=2048).kept(dict.fromkeys((2048, 4100, 5000))) == {2048, 4100, 5000}
