from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any, get_args

import msgspec
import pytest
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from cluster import tracing
from cluster.errors import ConfigError
from cluster.settings import parse
from cluster.tracing import LONGEST_TEXT, Span, Tracer, attributes, check, open_tracer, span_id, trace_id
from cluster.tracing_settings import Tracing
from tests.test_architecture import ROOT, SOURCES, imported

ON = Tracing(endpoint="http://127.0.0.1:6006", project="ours")


def span(part: str = "", *, trace: str = "retrain/late/1", **changes: Any) -> Span:
    whole = Span(trace, "retrain", "CHAIN", 1000.25, 1002.5, attributes(given="why", answered="promoted", metadata={"run": "1"}), part=part)
    return whole._replace(**changes)


def sent(*spans: Span, settings: Tracing = ON) -> list[Any]:
    exporter = InMemorySpanExporter()
    tracer = Tracer(settings, exporter=exporter)
    tracer.send(spans)
    tracer.close()
    assert (tracer.sent, tracer.dropped) == (len(spans), 0)
    return list(exporter.get_finished_spans())


class Stubborn:
    """An exporter that holds the thread until it is told to go on, and answers as it is told."""

    def __init__(self, *results: SpanExportResult) -> None:
        self.begun, self.go_on = threading.Semaphore(0), threading.Semaphore(0)
        self.results = list(results)
        self.batches: list[int] = []

    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        self.batches.append(len(spans))
        self.begun.release()
        assert self.go_on.acquire(timeout=20)
        return self.results.pop(0)

    def shutdown(self) -> None:
        pass


def test_a_span_arrives_with_its_times_its_kind_and_what_openinference_calls_input_and_output() -> None:
    (made,) = sent(span())
    assert (made.name, made.start_time, made.end_time) == ("retrain", 1_000_250_000_000, 1_002_500_000_000)
    assert dict(made.attributes) == {
        "openinference.span.kind": "CHAIN",
        "input.value": "why",
        "input.mime_type": "text/plain",
        "output.value": "promoted",
        "output.mime_type": "text/plain",
        "metadata": '{"run":"1"}',
    }
    assert made.status.status_code is StatusCode.OK
    assert made.resource.attributes["openinference.project.name"] == "ours"
    assert made.resource.attributes["service.name"] == "homeostat"


def test_an_error_is_an_error_with_its_reason() -> None:
    (made,) = sent(span(error="the source is gone"))
    assert made.status.status_code is StatusCode.ERROR
    assert made.status.description == "the source is gone"


def test_parts_are_children_of_their_whole() -> None:
    whole, train, other = sent(span(), span("train"), span("train", trace="retrain/late/2"))
    assert whole.parent is None
    assert train.parent.span_id == whole.context.span_id
    assert train.context.trace_id == whole.context.trace_id == trace_id("retrain/late/1")
    assert other.context.trace_id == trace_id("retrain/late/2")
    assert len({made.context.span_id for made in (whole, train, other)}) == 3


def test_a_span_that_is_sent_again_by_another_process_is_the_same_span() -> None:
    first, again = sent(span("train"))[0], sent(span("train"))[0]
    assert first.context.trace_id == again.context.trace_id
    assert first.context.span_id == again.context.span_id == span_id("retrain/late/1", "train")


def test_long_texts_are_cut_and_json_stays_json() -> None:
    found = attributes(given="x" * 9000, answered={"reason": "y" * 9000}, metadata={"reason": "z" * 9000, "rows": 3})
    assert len(str(found["input.value"])) == LONGEST_TEXT
    assert str(found["input.value"]).endswith("…")
    assert len(msgspec.json.decode(str(found["output.value"]))["reason"]) == LONGEST_TEXT
    assert msgspec.json.decode(str(found["metadata"]))["rows"] == 3


def test_spans_that_come_faster_than_they_are_sent_are_dropped_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    exporter = Stubborn(*[SpanExportResult.SUCCESS] * 20)
    tracer = Tracer(ON, exporter=exporter)
    tracer.send([span()])
    assert exporter.begun.acquire(timeout=20)
    with caplog.at_level(logging.WARNING, "homeostat.tracing"):
        for _ in range(3):
            tracer.send([span()] * 1000)  # does not wait, though nothing is being sent
        tracer.drop()
    assert tracer.dropped == 3000 - 2048 + 1
    assert len(caplog.records) == 1
    assert "http://127.0.0.1:6006: they come faster than they can be sent" in caplog.text
    for _ in range(20):
        exporter.go_on.release()
    tracer.close(timeout_s=20)
    assert tracer.sent == 2049
    assert exporter.batches == [1, *[256] * 8]


def test_while_the_receiver_is_down_spans_are_counted_told_once_and_again_after_it_was_up(caplog: pytest.LogCaptureFixture) -> None:
    down, up = SpanExportResult.FAILURE, SpanExportResult.SUCCESS
    exporter = Stubborn(down, down, up, down)
    tracer = Tracer(ON, exporter=exporter)
    told = []
    with caplog.at_level(logging.WARNING, "homeostat.tracing"):
        for count in (5, 7, 2, 1):
            tracer.send([span()] * count)
            assert exporter.begun.acquire(timeout=20)
            exporter.go_on.release()
            while tracer.sent + tracer.dropped < sum(exporter.batches):
                pass
            told.append(len(caplog.records))
    tracer.close()
    assert (tracer.sent, tracer.dropped) == (2, 13)
    assert told == [1, 1, 1, 2]


def test_a_fault_in_one_batch_does_not_end_the_thread(caplog: pytest.LogCaptureFixture) -> None:
    exporter = Stubborn(SpanExportResult.SUCCESS)
    tracer = Tracer(ON, exporter=exporter)
    exporter.go_on.release()
    with caplog.at_level(logging.ERROR, "homeostat.tracing"):
        tracer.send([span(start="never")])
        while not tracer.dropped:
            pass
        tracer.send([span()])
        tracer.close(timeout_s=20)
    assert (tracer.sent, tracer.dropped) == (1, 1)
    assert "making or sending spans failed" in caplog.text


def test_a_closed_tracer_takes_nothing_more() -> None:
    exporter = InMemorySpanExporter()
    tracer = Tracer(ON, exporter=exporter)
    tracer.close()
    tracer.send([span()])
    assert (tracer.sent, tracer.dropped) == (0, 1)


def test_it_is_off_by_default_and_one_line_turns_it_on() -> None:
    content: dict[str, Any] = {
        "model": "late",
        "data": {"source": "flights"},
        "schema": {"features": [{"name": "miles", "type": "number"}], "label": {"name": "late"}},
    }
    assert parse(content).tracing.endpoint is None
    assert open_tracer(parse(content).tracing) is None
    assert parse(content | {"tracing": {"endpoint": "http://127.0.0.1:6006"}}).tracing.sample == 0.1


def test_an_endpoint_that_is_no_address_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"key 'tracing\.endpoint'"):
        parse(
            {
                "model": "late",
                "data": {"source": "flights"},
                "schema": {"features": [{"name": "miles", "type": "number"}], "label": {"name": "late"}},
                "tracing": {"endpoint": "localhost:6006"},
            }
        )


def test_without_the_package_turning_it_on_is_refused_with_the_name_of_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    check(Tracing())
    for turn_on in (check, open_tracer):
        with pytest.raises(ConfigError, match=r"pip install 'homeostat\[phoenix\]', or leave tracing\.endpoint out"):
            turn_on(ON)


def test_while_it_is_off_nothing_of_opentelemetry_is_imported() -> None:
    program = (
        "import sys; from cluster import tracing; from cluster.tracing_settings import Tracing; import serve_apps.traces, monitoring.traces\n"
        "tracing.check(Tracing()); assert tracing.open_tracer(Tracing()) is None\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_opentelemetry_is_known_to_one_module() -> None:
    assert [str(path.relative_to(ROOT)) for path in SOURCES if "opentelemetry" in imported(path)] == ["cluster/tracing.py"]


def test_spans_go_where_otlp_over_http_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    for endpoint in ("http://127.0.0.1:6006", "http://127.0.0.1:6006/", "http://127.0.0.1:6006/v1/traces"):
        exporter: Any = tracing._exporter(Tracing(endpoint=endpoint))
        assert exporter._endpoint == "http://127.0.0.1:6006/v1/traces"


def test_the_words_are_openinferences() -> None:
    semconv = pytest.importorskip("openinference.semconv.trace")
    resource = pytest.importorskip("openinference.semconv.resource").ResourceAttributes
    names, kinds = semconv.SpanAttributes, semconv.OpenInferenceSpanKindValues
    (made,) = sent(span())
    assert set(made.attributes) == {
        names.OPENINFERENCE_SPAN_KIND,
        names.INPUT_VALUE,
        names.INPUT_MIME_TYPE,
        names.OUTPUT_VALUE,
        names.OUTPUT_MIME_TYPE,
        names.METADATA,
    }
    assert resource.PROJECT_NAME in made.resource.attributes
    assert set(get_args(tracing.Kind)) <= {kind.value for kind in kinds}
