"""What the dashboards show: every query of every panel, as data. How they are drawn is `configs.grafana.make`'s."""

from __future__ import annotations

from typing import Final, NamedTuple

_WHOLE: Final = 24


class Query(NamedTuple):
    """One query of a panel."""

    expression: str
    legend: str = ""


class Panel(NamedTuple):
    """One panel; `number` shows the last value alone, `signed` an axis that goes below 0."""

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    width: int = 12
    number: bool = False
    signed: bool = False


class Row(NamedTuple):
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


class Board(NamedTuple):
    """One dashboard; `models` is the metric whose label `model` fills the variable."""

    uid: str
    title: str
    description: str
    models: str
    rows: tuple[Row, ...]


def _or_nothing(expression: str, beside: str) -> str:
    """A counter's sum; 0 where `beside` is there and the counter is not: Ray shows none before its first event."""
    return f"({expression} or 0 * {beside})"


_MODEL: Final = '{model=~"$model"}'
_BY: Final = "sum by (model)"
_REQUESTS: Final = f"{_BY} (rate(ray_homeostat_requests_total{_MODEL}[$__rate_interval]))"
_FAILED: Final = _or_nothing(f'{_BY} (rate(ray_homeostat_requests_total{{model=~"$model",status=~"5.."}}[$__rate_interval]))', _REQUESTS)
_ROWS: Final = f"{_BY} (rate(ray_homeostat_served_rows_total{_MODEL}[$__rate_interval]))"


def _answered_by(who: str) -> str:
    rate = f'{_BY} (rate(ray_homeostat_served_rows_total{{model=~"$model",answered_by="{who}"}}[$__rate_interval]))'
    return f"{_or_nothing(rate, _ROWS)} / {_ROWS}"


def _quantile(share: float) -> str:
    rate = f"sum by (model, le) (rate(ray_homeostat_request_seconds_bucket{_MODEL}[$__rate_interval]))"
    return f"histogram_quantile({share}, {rate})"


def _ensemble(name: str) -> str:
    return f"{_BY} (rate(ray_homeostat_ensemble_{name}_total{_MODEL}[$__rate_interval]))"


def _refused(name: str) -> Query:
    return Query(_or_nothing(_ensemble(name), _ensemble("batches")), f"{{{{model}}}} {name}")


_SIZE: Final = 'homeostat_attribution_size{model=~"$model",bound="%s"}'
_USUAL: Final = _SIZE % "expected"
_MOVED: Final = f"abs({_SIZE % 'estimate'} - ignoring (bound) {_USUAL})"
_BY_BUNDLE: Final = "sum by (model, bundle)"


HEALTH: Final = Board(
    "homeostat-health",
    "Homeostat: model health",
    "Whether the models are well: what the monitor says of them, and whether it can.",
    "homeostat_rows_total",
    (
        Row(
            "Alarms",
            (
                Panel(
                    "Alarms",
                    "Raised in the time shown, within the budget of monitoring.one_false_alarm_in.",
                    "short",
                    (Query(f"increase(homeostat_alarms_total{_MODEL}[$__range])", "{{model}}"),),
                    4,
                    number=True,
                ),
                Panel(
                    "Evidence and threshold",
                    "An alarm is raised when the evidence of a version's metrics sums to the threshold; the evidence then begins anew.",
                    "short",
                    (
                        Query(f"sum by (model, bundle) (homeostat_evidence{_MODEL})", "{{model}} {{bundle}}"),
                        Query(f"homeostat_evidence_threshold{_MODEL}", "{{model}} threshold"),
                    ),
                    10,
                ),
                Panel(
                    "Who carries the evidence",
                    "The ten heaviest metrics.",
                    "short",
                    (Query(f"topk(10, homeostat_evidence{_MODEL})", "{{model}} {{bundle}} {{kind}} {{name}}"),),
                    10,
                ),
                Panel(
                    "Alarms that stand",
                    "About the champion; each for 28 windows.",
                    "short",
                    (Query(f"homeostat_alarms_standing{_MODEL}", "{{model}}"),),
                    4,
                    number=True,
                ),
                Panel(
                    "What the newest of them costs",
                    "Change of the loss (Brier score or RMSE) from the reference, with its bounds; above 0 is worse. Measured where labels are in, else "
                    "what the scores expect. Nothing where it cannot be known.",
                    "short",
                    (Query(f"homeostat_alarm_harm{_MODEL}", "{{model}} {{bundle}} {{metric}} by {{source}}, {{bound}}"),),
                    20,
                    signed=True,
                ),
            ),
        ),
        Row(
            "Drift",
            (
                Panel(
                    "Features",
                    "Share of rows in other bins or categories than on the reference, latest window. Days differ by themselves: no threshold.",
                    "percentunit",
                    (Query(f"homeostat_feature_drift_ratio{_MODEL}", "{{model}} {{bundle}} {{feature}}"),),
                ),
                Panel(
                    "Predictions",
                    "The same for what is answered.",
                    "percentunit",
                    (Query(f"homeostat_prediction_drift_ratio{_MODEL}", "{{model}} {{bundle}} {{output}}"),),
                ),
                Panel(
                    "Quality",
                    "Share of rows that are missing, of an unknown category, out of range or of more decimals than the training rows, latest window.",
                    "percentunit",
                    (Query(f"homeostat_quality_ratio{_MODEL}", "{{model}} {{bundle}} {{feature}} {{fault}}"),),
                ),
                Panel(
                    "Values that cannot be",
                    "Of the last day: outside the range or the categories that the YAML states, where the training rows had none.",
                    "short",
                    (Query(f"increase(homeostat_impossible_values_total{_MODEL}[1d])", "{{model}} {{feature}} {{fault}}"),),
                ),
            ),
        ),
        Row(
            "How good the answers are",
            (
                Panel(
                    "Performance, and what was expected",
                    "Of the latest window whose labels have come, beside the reference.",
                    "short",
                    (
                        Query(f"homeostat_performance{_MODEL}", "{{model}} {{bundle}} {{metric}}"),
                        Query(f"homeostat_performance_expected{_MODEL}", "{{model}} {{bundle}} {{metric}} expected"),
                    ),
                ),
                Panel(
                    "Cascade",
                    "How often the ensemble decides otherwise than the student did, between its bounds, beside what was promised.",
                    "percentunit",
                    (Query(f"homeostat_cascade_disagreement_ratio{_MODEL}", "{{model}} {{bundle}} {{bound}}"),),
                ),
                Panel(
                    "Labels",
                    "Read from the journal.",
                    "cps",
                    (Query(f"rate(homeostat_label_entries_total{_MODEL}[$__rate_interval])", "{{model}}"),),
                ),
                Panel(
                    "Labels awaited",
                    "Rows whose label has not come and may still.",
                    "short",
                    (Query(f"homeostat_labels_waiting{_MODEL}", "{{model}}"),),
                ),
            ),
        ),
        Row(
            "Told beside the alarm budget",
            (
                Panel(
                    "Performance so far",
                    "Mean over a version's labelled windows, with bounds that hold at every look; the whole and its slices.",
                    "short",
                    (Query(f"homeostat_performance_so_far{_MODEL}", "{{model}} {{bundle}} {{metric}} {{part}} {{bound}}"),),
                ),
                Panel(
                    "Performance, estimated",
                    "While labels are awaited, latest window; nothing when it cannot be known.",
                    "short",
                    (Query(f"homeostat_performance_estimate{_MODEL}", "{{model}} {{bundle}} {{metric}} {{bound}}"),),
                ),
                Panel(
                    "Fairness",
                    "Widest gap between two groups, mean over windows, with bounds that hold at every look, beside its limit.",
                    "short",
                    (Query(f"homeostat_fairness_gap{_MODEL}", "{{model}} {{bundle}} {{figure}} {{attribute}} {{bound}}"),),
                ),
                Panel(
                    "Stability",
                    "How much answers move.",
                    "short",
                    (Query(f"homeostat_stability{_MODEL}", "{{model}} {{bundle}} {{name}} {{bound}}"),),
                ),
                Panel(
                    "Checks",
                    "Share of the rows tried on which a check of the YAML holds.",
                    "percentunit",
                    (Query(f"homeostat_correctness_ratio{_MODEL}", "{{model}} {{bundle}} {{check}} {{bound}}"),),
                ),
                Panel(
                    "Limits and checks that are broken",
                    "Shown to be, by bounds that hold at every look.",
                    "short",
                    (Query(f"homeostat_findings{_MODEL}", "{{model}} {{bundle}} {{kind}}"),),
                ),
            ),
        ),
        Row(
            "What answers rest on",
            (
                Panel(
                    "How far it has moved",
                    "Change in the size of all features' contributions, as a share of what it was on the reference. It moves by itself: no threshold.",
                    "percentunit",
                    (Query(f"{_BY_BUNDLE} ({_MOVED}) / {_BY_BUNDLE} ({_USUAL})", "{{model}} {{bundle}}"),),
                    8,
                ),
                Panel(
                    "Features whose contributions moved most",
                    "Mean size in the latest window, less that on the reference, whichever way; in the unit of the trees.",
                    "short",
                    (Query(f"topk(10, {_MOVED})", "{{model}} {{bundle}} {{feature}}"),),
                    8,
                ),
                Panel(
                    "How far explanations can be trusted",
                    "fidelity: R² of LIME's linear models, poor_fidelity: share of rows where they fit badly; the others: whether the order of features "
                    "stays the same with another seed, with noise, and from the reference to now.",
                    "percentunit",
                    (Query('homeostat_explanation{model=~"$model",bound="estimate"}', "{{model}} {{bundle}} {{name}}"),),
                    8,
                ),
            ),
        ),
        Row(
            "Retrains",
            (
                Panel(
                    "Under way",
                    "Begun and not ended, by the ledger.",
                    "short",
                    (
                        Query(
                            f"{_BY} (homeostat_retrains_begun_total{_MODEL}) - {_BY} (homeostat_retrains_ended_total{_MODEL})", "{{model}}"
                        ),
                    ),
                    6,
                    number=True,
                ),
                Panel(
                    "How they ended",
                    "Since the first: promoted, refused by the gate, or abandoned because every attempt failed.",
                    "short",
                    (
                        Query(f"homeostat_retrains_begun_total{_MODEL}", "{{model}} begun"),
                        Query(f"homeostat_retrains_ended_total{_MODEL}", "{{model}} {{outcome}}"),
                    ),
                ),
                Panel(
                    "How long the last took",
                    "From asking for it to its end.",
                    "s",
                    (Query(f"homeostat_retrain_last_duration_seconds{_MODEL}", "{{model}}"),),
                    6,
                    number=True,
                ),
            ),
        ),
        Row(
            "The monitor itself",
            (
                Panel(
                    "Journal not read yet", "Should not grow.", "bytes", (Query(f"homeostat_journal_lag_bytes{_MODEL}", "{{model}}"),), 8
                ),
                Panel(
                    "Age of the newest event time",
                    "A replayed stream is as old as its rows.",
                    "s",
                    (Query(f"time() - homeostat_watermark_timestamp_seconds{_MODEL}", "{{model}}"),),
                    8,
                ),
                Panel(
                    "Windows judged",
                    "For drift, since the first.",
                    "short",
                    (Query(f"homeostat_windows_judged_total{_MODEL}", "{{model}}"),),
                    8,
                ),
                Panel(
                    "Rows",
                    "Read from the journal; late ones came after their window was judged, unjudged ones from a bundle that cannot be read.",
                    "cps",
                    (
                        Query(f"rate(homeostat_rows_total{_MODEL}[$__rate_interval])", "{{model}} read"),
                        Query(f"rate(homeostat_late_rows_total{_MODEL}[$__rate_interval])", "{{model}} late"),
                        Query(f"rate(homeostat_unjudged_rows_total{_MODEL}[$__rate_interval])", "{{model}} unjudged"),
                        Query(f"rate(homeostat_audited_rows_total{_MODEL}[$__rate_interval])", "{{model}} audited"),
                    ),
                    8,
                ),
                Panel(
                    "Looks that failed",
                    "And were tried again.",
                    "short",
                    (Query(f"increase(homeostat_monitor_errors_total{_MODEL}[$__rate_interval])", "{{model}}"),),
                    8,
                ),
                Panel(
                    "Alarms not delivered",
                    "That the receiver of monitoring.webhook has not accepted; empty without one.",
                    "short",
                    (Query(f"homeostat_notifications_waiting{_MODEL}", "{{model}}"),),
                    8,
                ),
            ),
        ),
    ),
)

SERVING: Final = Board(
    "homeostat-serving",
    "Homeostat: serving",
    "How requests are answered: how many, how fast, by whom.",
    "ray_homeostat_requests_total",
    (
        Row(
            "Now",
            (
                Panel("Requests", "A second.", "reqps", (Query(_REQUESTS, "{{model}}"),), 6, number=True),
                Panel(
                    "Failed", "Share answered with a 5xx.", "percentunit", (Query(f"{_FAILED} / {_REQUESTS}", "{{model}}"),), 6, number=True
                ),
                Panel("p99", "In the gateway.", "s", (Query(_quantile(0.99), "{{model}}"),), 6, number=True),
                Panel(
                    "Replicas",
                    "Healthy.",
                    "short",
                    (Query("sum by (application, deployment) (ray_serve_deployment_replica_healthy)", "{{application}} {{deployment}}"),),
                    6,
                    number=True,
                ),
            ),
        ),
        Row(
            "Requests",
            (
                Panel(
                    "By route",
                    "",
                    "reqps",
                    (
                        Query(
                            f"sum by (model, route) (rate(ray_homeostat_requests_total{_MODEL}[$__rate_interval]))",
                            "{{model}} {{route}}",
                        ),
                    ),
                ),
                Panel(
                    "By status",
                    "",
                    "reqps",
                    (
                        Query(
                            f"sum by (model, status) (rate(ray_homeostat_requests_total{_MODEL}[$__rate_interval]))",
                            "{{model}} {{status}}",
                        ),
                    ),
                ),
                Panel(
                    "Latency",
                    "From the first byte seen to the answer handed over.",
                    "s",
                    tuple(Query(_quantile(share), f"{{{{model}}}} p{100 * share:g}") for share in (0.5, 0.95, 0.99)),
                ),
                Panel(
                    "Objectives",
                    "Share of the last hour's requests that failed or took longer than 0.25 s; 0.1 % and 1 % are the objectives.",
                    "percentunit",
                    (
                        Query(f"model:homeostat_request_errors:ratio_rate1h{_MODEL}", "{{model}} failed"),
                        Query(f"model:homeostat_requests_slow:ratio_rate1h{_MODEL}", "{{model}} slow"),
                    ),
                ),
            ),
        ),
        Row(
            "Who answers",
            (
                Panel(
                    "Shares of rows",
                    "Degraded: the student answered a row that needed the ensemble.",
                    "percentunit",
                    tuple(Query(_answered_by(who), f"{{{{model}}}} {who}") for who in ("student", "ensemble", "degraded")),
                ),
                Panel(
                    "Rows by version",
                    "",
                    "cps",
                    (
                        Query(
                            f"sum by (model, bundle) (rate(ray_homeostat_served_rows_total{_MODEL}[$__rate_interval]))",
                            "{{model}} {{bundle}}",
                        ),
                    ),
                ),
                Panel(
                    "Swaps",
                    "Bundles that began to answer, a replica at a time.",
                    "short",
                    (
                        Query(
                            f"sum by (model, role) (increase(ray_homeostat_swap_seconds_count{_MODEL}[$__rate_interval]))",
                            "{{model}} {{role}}",
                        ),
                    ),
                    8,
                ),
                Panel(
                    "Longest swaps",
                    "From the look at a pointer to the first request that its bundle may answer, 95th percentile.",
                    "s",
                    (
                        Query(
                            f"histogram_quantile(0.95, sum by (model, le) (ray_homeostat_swap_seconds_bucket{_MODEL}))",
                            "{{model}}",
                        ),
                    ),
                    8,
                ),
                Panel(
                    "Audits",
                    "Rows chosen to be scored by the ensemble as well.",
                    "cps",
                    (
                        Query(
                            f"sum by (model, outcome) (rate(ray_homeostat_audited_rows_total{_MODEL}[$__rate_interval]))",
                            "{{model}} {{outcome}}",
                        ),
                    ),
                    8,
                ),
            ),
        ),
        Row(
            "Ensembles with a deployment of their own",
            (
                Panel("Batches", "A second.", "cps", (Query(_ensemble("batches"), "{{model}}"),), 8),
                Panel("Rows a batch", "", "short", (Query(f"{_ensemble('rows')} / {_ensemble('batches')}", "{{model}}"),), 8),
                Panel(
                    "Busy",
                    "Cores that score.",
                    "short",
                    (Query(_ensemble("compute_s"), "{{model}}"),),
                    8,
                ),
                Panel(
                    "Wait",
                    "Before a request's batch begins.",
                    "s",
                    (Query(f"{_ensemble('wait_s')} / {_ensemble('answered')}", "{{model}}"),),
                    8,
                ),
                Panel(
                    "Queue",
                    "",
                    "short",
                    (
                        Query(f"{_BY} (ray_homeostat_ensemble_queued_requests{_MODEL})", "{{model}} requests"),
                        Query(f"{_BY} (ray_homeostat_ensemble_queued_rows{_MODEL})", "{{model}} rows"),
                    ),
                    8,
                ),
                Panel(
                    "Not scored",
                    "Shed at arrival, expired in the queue, callers that left, rows that made scoring fail.",
                    "cps",
                    tuple(_refused(name) for name in ("shed", "expired", "cancelled", "poisoned")),
                    8,
                ),
                Panel(
                    "Replicas",
                    "Healthy ones, and how many there should be.",
                    "short",
                    (
                        Query(
                            "sum by (application, deployment) (ray_serve_deployment_replica_healthy)",
                            "{{application}} {{deployment}}",
                        ),
                        Query(
                            "sum by (application, deployment) (ray_serve_autoscaling_target_replicas)",
                            "{{application}} {{deployment}} wanted",
                        ),
                    ),
                    _WHOLE,
                ),
            ),
        ),
    ),
)

BOARDS: Final = {"health": HEALTH, "serving": SERVING}
"""By the name of their file."""
