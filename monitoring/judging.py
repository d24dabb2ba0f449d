"""From a closed window to its record: the tests, what is said beside them, and what an alarm costs. Writes nothing and remembers nothing."""

from __future__ import annotations

from zlib import crc32

import msgspec
import numpy as np

from cluster.records import Verdict
from cluster.settings import Settings
from monitoring import drift, harm, impossible, live, looks, performance
from monitoring.agreement import Audits
from monitoring.blamed import columns_of, key_of
from monitoring.harm import Harm
from monitoring.library import Library
from monitoring.remembered import Remembered
from monitoring.said import Figure, Live
from monitoring.sketches import Summary
from monitoring.verdicts import LookKind, WindowVerdicts
from monitoring.windows import Key, Rows, Window


class Judge:
    """Judges the windows of one model, each once, in order.

    Parameters
    ----------
    settings
        The model's.
    library
        Its bundles.
    remembered
        What was judged before; it is read and not changed.
    """

    def __init__(self, settings: Settings, library: Library, remembered: Remembered) -> None:
        self._settings = settings
        self._library = library
        self._remembered = remembered
        self._window_s = settings.monitoring.window.total_seconds()
        self._min_rows = settings.monitoring.min_rows
        self._threshold = drift.threshold_of(settings.monitoring.one_false_alarm_in, settings.monitoring.window)

    def once_over(self, key: Key, window: Window, rows: Rows | None, audits: Audits) -> WindowVerdicts:
        """The look once a window is over.

        Parameters
        ----------
        rows
            None when they are gone already.
        audits
            Of the window's rows.
        """
        assert isinstance(window.summary, Summary)
        version, seen, few = key.bundle, self._library.view(key.bundle), window.rows < self._min_rows
        found = [] if few else looks.drift_looks(seen.profile, seen.sketcher, window.summary, min_rows=self._min_rows)
        found += looks.agreement_looks(self._library.promise(version), audits)
        record = self._record(key, "drift", found, rows=window.rows, summary=window.summary)
        told, news, remembered = self._impossible(key, window, window.summary)
        record = msgspec.structs.replace(record, news=news)
        if not few:
            models, before = self._library.models, self._remembered.before(version)
            more, remembered = live.once_over(
                self._scene(key),
                window,
                rows,
                remembered,
                model=models.get(version),
                why=models.reasons(version),
                before=None if before is None else models.get(before),
            )
            told += more
        return self._costed(_with_said(record, told, remembered), window.summary)

    def once_labelled(self, key: Key, window: Window, rows: Rows | None) -> WindowVerdicts:
        """The look once its labels are due."""
        seen, remembered = self._library.view(key.bundle), self._remembered.live(key.bundle)
        known = np.zeros(0, np.bool_) if rows is None else ~np.isnan(rows.y)
        if rows is None or known.sum() < self._min_rows:
            record = self._record(key, "performance", [], rows=window.rows, labelled=int(known.sum()))
            return _with_said(record, [], remembered.labelled(key.start))
        label, scores, y = seen.schema.label, rows.scores[known], rows.y[known]
        found = looks.performance_looks(seen.profile, label, scores, y)
        record = self._record(key, "performance", found, rows=window.rows, labelled=len(y))
        tested = {verdict.name for verdict in record.verdicts}
        untested = [
            Figure("performance", name, value, name, len(y), expected=seen.profile.performance.get(name))
            for name, value in performance.measure(label, scores, y).items()
            if name not in tested
        ]
        told, remembered = live.once_labelled(self._scene(key), rows, remembered)
        record = _with_said(record, untested + told, remembered)
        loss = float(performance.loss(label, scores, y).mean())
        return record if record.alarm is None else _with_harm(record, harm.of_labels(label, seen.profile, loss, len(y)))

    def _impossible(self, key: Key, window: Window, summary: Summary) -> tuple[list[Figure], list[str], Live]:
        return impossible.judge(
            self._library.rules(key.bundle),
            self._library.view(key.bundle).profile,
            summary.quality,
            window.firsts,
            window.rows,
            self._remembered.live(key.bundle),
            start=key.start,
            window_s=self._window_s,
        )

    def _scene(self, key: Key) -> live.Scene:
        """With chance of its own, the same whenever the window is judged."""
        rng = np.random.default_rng([int(abs(key.start)), crc32(key.bundle.encode())])
        return live.Scene(self._settings, self._library.view(key.bundle), self._library.brought(key.bundle), key.start, rng)

    def _record(
        self, key: Key, look: LookKind, found: list[drift.Look], *, rows: int, labelled: int = 0, summary: Summary | None = None
    ) -> WindowVerdicts:
        profile, promise = self._library.view(key.bundle).profile, self._library.promise(key.bundle)
        state, findings, alarm = self._remembered.state(key.bundle), list[drift.Finding](), None
        if found:
            state, findings, alarm = drift.judge(profile, state, found, window_start=key.start, threshold=self._threshold, promise=promise)
        record = WindowVerdicts(
            sequence=self._remembered.sequence,
            model=self._settings.model,
            bundle=key.bundle,
            look=look,
            window_start=key.start,
            window_end=key.start + self._window_s,
            rows=rows,
            labelled=labelled,
            evidence=drift.total(profile, state, promise) if alarm is None else alarm.evidence,
            threshold=self._threshold,
            alarm=alarm,
            cells={} if alarm is None or summary is None else self._cells(key, alarm, summary),
            state=state,
        )
        return msgspec.structs.replace(record, verdicts=[self._verdict(record, finding) for finding in findings])

    def _cells(self, key: Key, alarm: drift.Alarm, summary: Summary) -> dict[str, list[int]]:
        """How the window's rows lay in the columns that an alarm blames, while their histograms are held."""
        seen = self._library.view(key.bundle)
        columns = seen.profile.columns
        return {key_of(columns[j]): seen.sketcher.cells_of(summary, j).tolist() for j in columns_of(alarm, seen.profile)}

    def _verdict(self, record: WindowVerdicts, finding: drift.Finding) -> Verdict:
        look, label = finding.look, self._library.view(record.bundle).schema.label
        rows = record.labelled if record.look == "performance" else record.rows
        return Verdict(
            model=record.model,
            bundle=record.bundle,
            kind=look.reference.kind,
            name=look.reference.name,
            window_start=record.window_start,
            window_end=record.window_end,
            rows=rows if look.audits is None else look.audits.rows,
            value=look.value,
            expected=looks.expected(label, look.reference),
            unit=look.unit,
            e_value=finding.e_value,
            evidence=finding.evidence,
            alarm=finding.blamed,
            message=look.size,
        )

    def _costed(self, record: WindowVerdicts, summary: Summary) -> WindowVerdicts:
        """With what an alarm before the labels probably costs."""
        if record.alarm is None:
            return record
        seen, learned = self._library.view(record.bundle), self._library.brought(record.bundle).losses
        columns = harm.by_column(record.alarm, seen.schema.label, seen.profile, learned, seen.sketcher, summary)
        return _with_harm(record, harm.of_scores(record.verdicts, harm.metric_of(seen.schema.label), by_column=columns))


def _with_said(record: WindowVerdicts, figures: list[Figure], remembered: Live) -> WindowVerdicts:
    told = [
        Verdict(
            model=record.model,
            bundle=record.bundle,
            window_start=record.window_start,
            window_end=record.window_end,
            **figure._asdict(),
        )
        for figure in figures
    ]
    return msgspec.structs.replace(record, verdicts=record.verdicts + told, live=remembered)


def _with_harm(record: WindowVerdicts, found: Harm) -> WindowVerdicts:
    assert record.alarm is not None
    told = msgspec.structs.replace(record.alarm, message=f"{record.alarm.message}; {found.short}")
    return msgspec.structs.replace(record, alarm=told, harm=found)
