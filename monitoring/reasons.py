"""What explanations of a window's sample say: by which features a bundle comes to its answers, and how far to trust what it gives as reasons.

Attribution drift: sizes of the trees' exact contributions beside the reference's (`monitoring.attribution`). Its evidence gathers
over windows as the alarm's does, one e-detector a feature, summed up evenly (Shin, Ramdas & Rinaldo 2022), but apart from the alarm budget:
it is said to have changed when the evidence reaches twenty times the alarm's threshold, so that while nothing changes that happens on
average once in twenty times `monitoring.one_false_alarm_in`, or less often. Trust: whether explanations stay the same when they should, and
how well LIME's linear models fit. Pure, but for reading the bundle.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from cluster.bundle import Bundle
from cluster.errors import BundleError, DataError, ScoringFailed
from cluster.explaining import neighbourhood
from cluster.explaining.contributions import read_booster
from cluster.explaining.explainer import SAMPLES, SEED, Asked, Because, Chosen, Explainer
from cluster.records import Interval
from cluster.schema import Floats, Matrix
from monitoring import attributing, attribution, explanation
from monitoring.attributing import Attributions
from monitoring.drift import REST
from monitoring.said import Figure, Live, Trail
from monitoring.sketches import Column

if TYPE_CHECKING:
    import xgboost

SAFETY: Final = 20
"""Times the alarm's threshold."""
NOISE: Final = 0.1
"""Standard deviations that numbers are moved by, up or down."""
NOISE_ROWS: Final = 30
LIME_ROWS: Final = 15
_MOST_TOLD: Final = 20
_BLAME_SHARE: Final = 0.2
_ORDER: Final = "rank correlation of features by size of contribution"
_CHOSEN: Final = Chosen("lime", "the monitor asks")


class Reasons:
    """What the monitor needs to explain rows of one bundle; files are read when first needed.

    Parameters
    ----------
    bundle
        Loaded, with its ensemble.
    """

    def __init__(self, bundle: Bundle) -> None:
        files = bundle.manifest.files
        self._folder, self._ensemble = bundle.folder, bundle.ensemble
        self.tells_drift = attributing.NAME in files
        self.tells_trust = neighbourhood.NAME in files
        self._explainers = {seed: Explainer(bundle) for seed in (SEED, SEED + 1)}  # each keeps the made-up rows of its last seed

    @functools.cached_property
    def attributions(self) -> Attributions:
        """What was learned of the reference.

        Raises
        ------
        BundleError
        """
        return attributing.read(self._folder)

    def sizes(self, matrix: Matrix) -> Floats:
        """Sizes of the trees' contributions, float64 (n, features)."""
        return attributing.sizes(self._booster, matrix)

    def lime(self, matrix: Matrix, seed: int) -> list[Because]:
        """What `POST /v1/explain` would say of rows, asked for LIME of the ensemble."""
        asked = Asked(_CHOSEN, "ensemble", self._ensemble, SAMPLES, seed)
        return self._explainers[seed].explain(matrix, asked).rows

    @functools.cached_property
    def _booster(self) -> xgboost.Booster:
        return read_booster(self._folder / attributing.FILES[self.attributions.whose])


def explain(
    reasons: Reasons, columns: list[Column], rows: Matrix, live: Live, *, threshold: float, rng: np.random.Generator
) -> tuple[list[Figure], Live]:
    """Everything that is said of a window's explanations; that it cannot be known where explaining fails.

    Parameters
    ----------
    columns
        Of the bundle's profile, features first.
    rows
        Encoded, float32 (n, features), drawn by lot from the window.
    threshold
        Of the alarm, in windows.
    rng
        Draws the noise.
    """
    found = list[Figure]()
    try:
        if reasons.tells_drift:
            few = rows[: reasons.attributions.rows]
            seen = reasons.sizes(few)
            told, live = _drift(reasons.attributions, seen, live, threshold=threshold)
            found += told
            found.append(_noise(reasons, columns, few[:NOISE_ROWS], seen[:NOISE_ROWS], rng))
        if reasons.tells_trust:
            found += _trust(reasons, rows[:LIME_ROWS])
    except (BundleError, DataError, ScoringFailed) as error:
        found.append(Figure("explanation", "fidelity", None, _FIT, len(rows), message=f"cannot be known: {error.message}"))
    return found, live


def _drift(learned: Attributions, seen: Floats, live: Live, *, threshold: float) -> tuple[list[Figure], Live]:
    beside = attribution.compare(learned.reference, seen)
    trails, e_values = advance(learned.reference.features, live.trails, learned, seen, limit=SAFETY * threshold)
    known = {change.feature: change for change in beside.changes}
    places = np.argsort(-np.array(learned.reference.mean), kind="stable")[:_MOST_TOLD]
    shown = {learned.reference.features[place] for place in places} | {name for name, trail in trails.items() if trail.rest}
    asked = _Told(learned.unit, beside.rows)
    found = [asked.feature(known[name], trails[name], e_values[name]) for name in known if name in shown]
    order = Figure("explanation", "rank_agreement", beside.rank_agreement, f"{_ORDER}, on the reference and now", beside.rows, expected=1.0)
    return [*found, order], live.followed(trails)


def advance(
    features: Sequence[str], before: dict[str, Trail], learned: Attributions, seen: Floats, *, limit: float
) -> tuple[dict[str, Trail], dict[str, float]]:
    """The detectors of all features after one more window, and the window's own e-values.

    When the mean of their evidence reaches the limit, those that carry it rest, and all begin anew.

    Parameters
    ----------
    seen
        Sizes of contributions, float64 (n, features).
    limit
        In windows.
    """
    old = [before.get(name, Trail()) for name in features]
    cap = math.sqrt(limit * len(features))  # no single window of one feature is enough
    judged = attribution.evidence(learned.reference, seen, [trail.previous for trail in old], cap=cap)
    new = [trail.then(one.standardised, one.e_value) for trail, one in zip(old, judged, strict=True)]
    most = max(trail.evidence for trail in new)
    if sum(trail.evidence for trail in new) / len(new) >= limit:
        new = [trail.told(REST if trail.evidence >= _BLAME_SHARE * most else 0) for trail in new]
    return dict(zip(features, new, strict=True)), {one.feature: one.e_value for one in judged}


class _Told(NamedTuple):
    """How verdicts on attributions are worded."""

    unit: str
    rows: int

    def feature(self, change: attribution.Change, trail: Trail, e_value: float) -> Figure:
        """One feature; its bounds are those of the change, about the value."""
        usual = "" if not change.changed else "; more than the reference's own windows differ by, in this window"
        stands = "; over windows it is shown to have changed" if trail.rest else ""
        return Figure(
            kind="attribution",
            name=change.feature,
            value=change.value,
            unit=f"mean size of its contribution ({self.unit})",
            rows=self.rows,
            expected=change.expected,
            lower=max(change.expected + change.change.lower, 0.0),
            upper=change.expected + change.change.upper,
            alarm=trail.rest > 0,
            message=f"from {change.expected:.4g} to {change.value:.4g}{usual}{stands}",
            e_value=e_value,
            evidence=trail.evidence,
        )


def _noise(reasons: Reasons, columns: list[Column], rows: Matrix, seen: Floats, rng: np.random.Generator) -> Figure:
    """The same contributions of rows that are nearly the same."""
    scales = [column.scale if column.type == "number" else 0.0 for column in columns[: rows.shape[1]]]
    found = explanation.stability(seen, reasons.sizes(explanation.nudge(rows, scales, size=NOISE, rng=rng)))
    what = f"{_ORDER}, of a row and of the same row with every number moved by about a tenth of a deviation"
    return _steady("noise_agreement", what, found)


def _trust(reasons: Reasons, rows: Matrix) -> list[Figure]:
    one, other = (reasons.lime(rows, seed) for seed in (SEED, SEED + 1))
    steady = explanation.stability(*(np.array([because.contributions for because in told]) for told in (one, other)))
    fit = explanation.fidelity([because.fidelity for because in one])
    return [
        _steady("seed_agreement", f"{_ORDER}, by LIME with one seed and with another", steady),
        _bounded("fidelity", _FIT, fit.rows, fit.mean, f"a tenth of the rows lie below {fit.low:.2f}; {fit.flat} rows are too flat to fit"),
        Figure("explanation", "poor_fidelity", fit.poor, f"share of rows whose local model fits with R² below {fit.least:g}", fit.rows),
    ]


def _steady(name: str, what: str, found: explanation.Stability) -> Figure:
    top, change = found.top_overlap.estimate, found.change.estimate
    return _bounded(
        name, what, found.rows, found.rank_agreement, f"of the {found.top} largest {top:.0%} stay; contributions move by {change:.0%}"
    )


def _bounded(name: str, unit: str, rows: int, found: Interval, message: str) -> Figure:
    return Figure("explanation", name, found.estimate, unit, rows, lower=found.lower, upper=found.upper, message=message)


_FIT: Final = "R² of LIME's linear models around rows"
