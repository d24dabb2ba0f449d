from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from training import fitting
from training.fitting import Cuts, Fold
from training.members import Crew, Fit, Rows

ROWS = Rows(np.arange(20, dtype=np.float32)[:, None], np.arange(20, dtype=np.float64))
CUTS = Cuts(Fold(7, 10), [Fold(10, 14), Fold(14, 20)])


@dataclass
class Notebook:
    """A member that notes what it was given; its effort is the number of validation rows."""

    name: str = "notebook"
    native_name: str = "notebook.json"
    seen: list[tuple[float, int, int | None]] = field(default_factory=list)
    breaks_at: int | None = None
    resumed: list[bytes | None] = field(default_factory=list)

    def effort_for(self, effort: int, growth: float) -> int:
        return round(effort * growth)

    def fit(self, train: Rows, valid: Rows | None, crew: Crew, *, effort: int | None = None) -> Fit:
        """Offer a state, then break if told to."""
        self.resumed.append(crew.resume)
        crew.save(lambda: f"{len(train)} begun".encode())
        if self.breaks_at == len(train):
            raise RuntimeError("pulled the plug")
        self.seen.append((float(train.X[-1, 0]), 0 if valid is None else len(valid), effort))
        return Fit(f"{len(train)}".encode(), len(valid) if valid is not None else effort or 0)


def fit(member: Notebook, done: dict[str, bytes] | None = None, keep: dict[str, bytes] | None = None) -> fitting.Fits:
    def put(name: str, made: Callable[[], bytes]) -> None:
        if keep is not None:
            keep[name] = made()

    return fitting.fit_all([member], ROWS, CUTS, Crew(), done=done, keep=put)  # type: ignore[list-item]


def test_the_effort_is_found_before_all_pieces_and_given_to_each_fold_and_to_the_fit_on_all_rows():
    member = Notebook()
    fits = fit(member)
    assert member.seen == [(6.0, 3, None), (9.0, 0, 4), (13.0, 0, 6), (9.0, 10, None), (19.0, 0, 20)]  # by 10/7, 14/7, and 20/10
    assert fits.efforts == {"notebook": 20}
    assert [fold["notebook"] for fold in fits.folds] == [b"10", b"14"]
    assert fits.final == {"notebook": b"20"}


def test_what_was_kept_is_not_fitted_again_and_what_was_under_way_goes_on():
    kept: dict[str, bytes] = {}
    with pytest.raises(RuntimeError):
        fit(Notebook(breaks_at=14), keep=kept)
    assert set(kept) == {
        "effort/notebook",
        "effort/notebook.partial",
        "fold-0/notebook",
        "fold-0/notebook.partial",
        "fold-1/notebook.partial",
    }
    again = Notebook()
    fits = fit(again, done=kept)
    assert again.seen == [(13.0, 0, 6), (9.0, 10, None), (19.0, 0, 20)]
    assert again.resumed == [b"14 begun", None, None]
    assert fits == fit(Notebook())


def test_cuts_of_a_share_are_those_of_the_rows_it_holds():
    rows = np.arange(23)
    for rank in range(3):
        share = rows[rank::3]
        cuts = Cuts(Fold(8, 10), [Fold(10, 17)]).share(rank, 3)
        assert share[: cuts.stopping.train].tolist() == [r for r in share if r < 8]
        (fold,) = cuts.folds
        assert cuts.stopping.until == fold.train
        assert share[: fold.train].tolist() == [r for r in share if r < 10]
        assert share[fold.train : fold.until].tolist() == [r for r in share if 10 <= r < 17]
