"""From figures, window after window, to evidence of change: every metric at once, as arrays. Pure; knows no names, budgets or people.

Each metric is compared with all that was seen of it before, the reference and then every window since (a self-starting test, Hawkins
1987, "Self-starting CUSUM charts for location and scale"):

    r_n = x_n - memory * x_(n-1)                              what the window says beyond the one before
    T_n = (r_n - mean) / sqrt(var * (1 + inefficiency / n))   against the n residuals before it
    z_n = Phi^-1(F_df(T_n)) / sqrt(inefficiency)

For normal figures whose memory is known, the z_n of a healthy stream are independent and standard normal whatever the reference's mean and
variance are, so that a short reference costs power and not false alarms. Then exp(b z - price) is an e-value for every bet b whose price is
log E exp(b z): b^2 / 2 for normal figures, and more for figures that are skewed or seldom anything but nothing. So the price is what the bet would have won
on the reference's own residuals, each compared with the others (a cumulant generating function estimated from a sample, as Duffield and others
1995, "Entropy of ATM traffic streams"), and never less than b^2 / 2. Each metric has bets on small and large changes, up and down, and each
runs as a Shiryaev-Roberts e-detector (Shin, Ramdas & Rinaldo 2022):

    M_n = (M_(n-1) + 1) * e_n,

whose mean after n healthy windows is at most n, whatever the dependence between metrics. Because M_n is a sum over the windows in which a change may have
begun, its weighted mean of window numbers dates the change (Shiryaev 1963: the posterior under a flat prior).

How far out a figure may lie by chance is known of one that is the mean of many rows drawn by lot: it is normal (central limit theorem), and the larger the share
of its variance that rows explain, the nearer its T_n is taken to be to that, by excess kurtosis: what else varies counts as Student's with 10 degrees of
freedom. Where rows explain nearly all, and the metrics of the stream share no memory or this one has none, one window may say up to seven standard deviations, and a bet on a leap is made. Of all
other figures it says at most four, so that none of them alarms on one window.

Assumes that a window depends on the past through the one before it and, by `inefficiency`, a few more; memory and inefficiency are
estimated and raised towards their upper bounds. Windows that come in runs much longer than the reference shows break it, and so do events so
rare that the reference has none of them.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtr

from cluster.records import Record
from cluster.schema import Floats

BETS: Final = np.array([0.5, 1.0, 1.5, 5.0])
"""How far a changed metric is betted to lie from its past, in standard deviations of a window; the last only where tails are known."""
WAGERS: Final = np.concatenate([BETS, -BETS])
"""Bets up, then the same down."""
_MOST_Z: Final = 4.0
"""One window says no more than this: one day of snow is no lasting change."""
_MOST_KNOWN_Z: Final = 7.0
"""The same of a metric whose tails are known."""
_LARGEST_ANYWHERE: Final = 1.5
_KNOWN: Final = 0.4  # tails are known where no larger share of the variance than this may be anything but rows by lot
_NO_MEMORY: Final = 2.0  # standard errors of a correlation: what shares more of a memory is not made of rows by lot
_KURTOSIS: Final = 1.0  # in excess of a normal figure's, of what is not rows by lot: Student's with 10 degrees of freedom
_FEWEST_DF: Final = 3.0
_MOST_MEMORY: Final = 0.9
_ERROR: Final = 1.0  # standard errors that are added to a metric's own memory
_ALIKE: Final = 0.9  # quantile over metrics: dependence belongs to the stream, and one metric shows it badly
_WILD: Final = 10.0  # what lies further out is learned from as if it were this far out
_LARGEST: Final = 1e30
Flags = npt.NDArray[np.bool_]


class Start(Record, frozen=True, kw_only=True):
    """What the reference taught of each of A metrics; lists of A figures."""

    memory: list[float]
    """Correlation of neighbouring windows, 0 to 0.9."""
    inefficiency: list[float]
    """How many residuals are worth one independent residual."""
    df: list[float]
    most: list[float]
    """How many standard deviations one window says at most."""
    floor: list[float]
    """A residual's variance is at least this: what the number of rows alone explains."""
    windows: list[float]
    mean: list[float]
    squares: list[float]
    """Residuals of the reference: how many, their mean, and the sum of squares around it."""
    last: list[float]
    """The reference's last figure."""
    price: list[list[float]]
    """What each bet costs, in the order of `WAGERS`: log of what it would have won a window on the reference."""


class Memory(NamedTuple):
    """What is remembered between windows: arrays over A metrics, and over bets where there are two axes.

    `evidence` is M_n, `dated` and `dated_twice` are the sums in it multiplied by the number of the window they begin with, and by its square.
    """

    windows: Floats
    mean: Floats
    squares: Floats
    last: Floats
    rest: Floats
    evidence: Floats
    dated: Floats
    dated_twice: Floats


class Packed(Record, frozen=True, kw_only=True):
    """A memory as a record: float64, little-endian, row by row."""

    fields: list[bytes]


def pack(memory: Memory) -> Packed:
    """For the verdict log."""
    return Packed(fields=[np.ascontiguousarray(field, dtype="<f8").tobytes() for field in memory])


def unpack(packed: Packed, *, like: Memory) -> Memory:
    """The memory of a profile whose first memory is `like`."""
    return Memory(*(np.frombuffer(data, dtype="<f8").reshape(field.shape) for data, field in zip(packed.fields, like, strict=True)))


class Rows(NamedTuple):
    """How much of the variance of each of A figures, about 1, the number of a window's rows explains: float64 (A,), 0 to 1."""

    floor: Floats
    """At least this much, whatever the reference shows."""
    independent: Floats
    """So much is known to be independent from window to window, and has no memory: neither its own nor what the metrics share."""
    many: Floats
    """So much is that of a mean of many rows drawn by lot, whose tails are a normal figure's; 0 where that is not known."""


def learn(figures: Floats, rows: Rows) -> Start:
    """Learn from the reference's blocks.

    Parameters
    ----------
    figures
        float64 (m, A), in order of time, standardised to about mean 0; NaN where a block says nothing of a metric.
    """
    columns = [
        _Course(figures[:, j][~np.isnan(figures[:, j])], float(rows.independent[j]), float(rows.many[j])) for j in range(figures.shape[1])
    ]
    shared = float(np.quantile([c.correlation for c in columns], _ALIKE)) if columns else 0.0
    is_by_lot = (rows.independent > 0) | (shared <= _NO_MEMORY / np.sqrt(max(len(figures), 1)))
    made = [
        _learned(course, shared * course.wandering, float(floor), course.wild if by_lot else 1.0)
        for course, floor, by_lot in zip(columns, rows.floor, is_by_lot, strict=True)
    ]
    return Start(**{name: [entry[name] for entry in made] for name in Start.__struct_fields__})


class _Course:
    """One metric on the reference.

    `wandering` is the share of its variance that may have a memory: at most what is not noise, and a standard error of a variance. `wild` is the share
    whose tails are not known, in the same way.
    """

    def __init__(self, figures: Floats, noise: float, many: float) -> None:
        self.figures, self.noise = figures, noise
        m, around = len(figures), figures - figures.mean()
        power = max(float(around @ around), m * noise)
        first = float(around[1:] @ around[:-1]) / power if power > 0 else 0.0
        self.correlation = first + (1 + 3 * first) / m if power > 0 else 0.0  # Kendall 1954: small samples show too little
        self.error = float(np.sqrt(max(1 - self.correlation**2, 0.0) / m)) if power > 0 else 0.0
        self.wandering, self.wild = (min(1 - share + float(np.sqrt(2 / m)), 1.0) for share in (noise, many))


def _learned(course: _Course, shared: float, floor: float, wild: float) -> dict[str, Any]:
    x, m = course.figures, len(course.figures)
    memory = min(max(course.correlation + _ERROR * course.error, shared, 0.0), _MOST_MEMORY) if course.error > 0 else 0.0
    residuals = x[1:] - memory * x[:-1]
    around = residuals - residuals.mean()
    inefficiency = _inefficiency(around, course.noise)
    worth = m / min(max((1 + memory) / (1 - memory) * inefficiency, 1.0), m / 4)
    df, floor = min(max(worth - 1, _FEWEST_DF), 4 + 6 / (_KURTOSIS * wild**2)), floor * max(1 - memory**2, 0.05)
    most = _MOST_KNOWN_Z if wild <= _KNOWN else _MOST_Z
    return {
        "memory": memory,
        "inefficiency": inefficiency,
        "df": df,
        "most": most,
        "floor": floor,
        "windows": float(len(residuals)),
        "mean": float(residuals.mean()),
        "squares": float(around @ around),
        "last": float(x[-1]),
        "price": _price(_z(_left_out(around, inefficiency, floor), df, inefficiency, most)).tolist(),
    }


def _left_out(around: Floats, inefficiency: float, floor: float) -> Floats:
    """T of each residual, given as deviations from their mean, against all others."""
    n = len(around)
    own = around**2 * n / (n - 1)
    variance = np.maximum(np.maximum(around @ around - own, 0.0) / (n - 2), max(floor, 1e-12))
    return np.asarray(around * n / (n - 1) / np.sqrt(variance * (1 + inefficiency / (n - 1))))


def _z(t: Floats, df: Floats | float, inefficiency: Floats | float, most: Floats | float) -> Floats:
    chance = np.clip(stdtr(df, -np.abs(t)), 1e-15, 0.5)  # the lower tail has all digits
    return np.asarray(np.sign(t) * np.minimum(-ndtri(chance), most) / np.sqrt(inefficiency))


def _price(z: Floats) -> Floats:
    """Log of the mean of exp(b z) for each wager b; a normal figure's mean counts as one window more."""
    normal = WAGERS**2 / 2
    won = (np.exp(WAGERS[:, None] * z).sum(axis=1) + np.exp(normal)) / (len(z) + 1)
    return np.asarray(np.maximum(np.log(won), normal))


def _inefficiency(around: Floats, noise: float) -> float:
    """1 + twice the sum of the first m // 10 autocorrelations, each corrected for the estimated mean; 1 to m / 4.

    Figures that vary less than their noise, such as a fault that never occurred, have nothing in them to correlate.
    """
    m, own = len(around), float(around @ around)
    power = max(own, m * noise)
    if power <= 0:
        return 1.0
    lags = range(1, max(1, m // 10) + 1)
    return min(max(1 + 2 * sum(float(around[lag:] @ around[:-lag]) + own / m for lag in lags) / power, 1.0), m / 4)


def _stakes(is_known: Flags, both_sides: Flags) -> Floats:
    """How what is betted on each metric is shared between the wagers, float64 (A, wagers): evenly, but for those that are not offered."""
    large = np.tile(BETS > _LARGEST_ANYWHERE, 2)
    down = np.arange(len(WAGERS)) >= len(BETS)
    offered = (is_known[:, None] | ~large) & (both_sides[:, None] | ~down)
    return np.asarray(offered / offered.sum(axis=1, keepdims=True))


class Detectors:
    """The test over A metrics of one reference.

    Parameters
    ----------
    start
        What the reference taught.
    both_sides
        bool (A,): whether a fall counts as well as a rise.
    """

    def __init__(self, start: Start, both_sides: Flags) -> None:
        self._start = {name: np.array(getattr(start, name)) for name in Start.__struct_fields__}
        self._start["price"] = self._start["price"].reshape(-1, len(WAGERS))
        self._stakes = _stakes(self._start["most"] > _MOST_Z, both_sides)
        s, metrics = self._start, len(self._start["windows"])
        empty = np.zeros((metrics, len(WAGERS)))
        self._first = Memory(s["windows"], s["mean"], s["squares"], s["last"], np.zeros(metrics), empty, empty, empty)

    def begin(self) -> Memory:
        """Nothing has been seen since the reference."""
        return self._first

    def advance(self, memory: Memory, figures: Floats, number: float) -> tuple[Memory, Floats]:
        """Take in window `number`, and return each metric's e-value, float64 (A,), as well.

        Parameters
        ----------
        figures
            float64 (A,), standardised as those of the reference were; NaN: the window says nothing of this metric.
        """
        seen = ~np.isnan(figures)
        z, residuals = self._surprise(memory, np.where(seen, figures, 0.0))
        awake = seen & (memory.rest <= 0)
        factors = np.where(awake[:, None], np.exp(WAGERS * z[:, None] - self._start["price"]), 1.0)
        new = np.where(awake[:, None], 1.0, 0.0)
        evidence = np.minimum((memory.evidence + new) * factors, _LARGEST)
        dated = np.minimum((memory.dated + new * number) * factors, _LARGEST * (number + 1))
        twice = np.minimum((memory.dated_twice + new * number**2) * factors, _LARGEST * (number + 1) ** 2)
        learned = self._learn(memory, residuals, awake)  # what rests was blamed: it would learn that the change is usual
        last = np.where(seen, figures, memory.last)
        rest = np.where(seen, np.maximum(memory.rest - 1, 0.0), memory.rest)
        return Memory(*learned, last, rest, evidence, dated, twice), np.asarray((factors * self._stakes).sum(axis=1))

    def evidence(self, memory: Memory) -> Floats:
        """M_n of each metric over its bets, float64 (A,)."""
        return np.asarray((memory.evidence * self._stakes).sum(axis=1))

    def began(self, memory: Memory, metric: int) -> tuple[float, float]:
        """The number of the window in which a metric began to change: mean and standard deviation."""
        stakes = self._stakes[metric]
        whole = float(memory.evidence[metric] @ stakes)
        mean = float(memory.dated[metric] @ stakes) / whole
        return mean, float(np.sqrt(max(float(memory.dated_twice[metric] @ stakes) / whole - mean**2, 0.0)))

    def after_alarm(self, memory: Memory, blamed: Flags, rest: float) -> Memory:
        """Begin anew. Metrics that were blamed rest, and forget all but the reference, so that a lasting change is told again."""
        s, empty = self._start, np.zeros_like(memory.evidence)
        windows, mean, squares = (np.where(blamed, s[name], getattr(memory, name)) for name in ("windows", "mean", "squares"))
        return Memory(windows, mean, squares, memory.last, np.where(blamed, rest, memory.rest), empty, empty, empty)

    def _variance(self, memory: Memory) -> Floats:
        variance: Floats = np.maximum(memory.squares / (memory.windows - 1), self._start["floor"])
        return variance

    def _surprise(self, memory: Memory, figures: Floats) -> tuple[Floats, Floats]:
        s = self._start
        residuals = figures - s["memory"] * memory.last
        t = (residuals - memory.mean) / np.sqrt(self._variance(memory) * (1 + s["inefficiency"] / memory.windows))
        return _z(t, s["df"], s["inefficiency"], s["most"]), residuals

    def _learn(self, memory: Memory, residuals: Floats, seen: Flags) -> tuple[Floats, Floats, Floats]:
        """One more residual each (Welford 1962)."""
        reach = _WILD * np.sqrt(self._variance(memory))
        off = np.where(seen, np.clip(residuals - memory.mean, -reach, reach), 0.0)
        windows = memory.windows + seen
        mean = memory.mean + off / windows
        return windows, mean, memory.squares + off * (off - (mean - memory.mean))
