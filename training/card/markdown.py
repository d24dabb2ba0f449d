"""A card as Markdown under a YAML head, in the form that Hugging Face reads model cards in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from monitoring.wording import name
from training.card.document import Block, Bullets, Commands, Document, Paragraph, Picture, Table
from training.card.evidence import Evidence
from training.card.figures import FOLDER, Told

if TYPE_CHECKING:
    from huggingface_hub import EvalResult


def write(document: Document, found: Evidence, told: Mapping[str, Told]) -> str:
    """The card; figures are linked as files beside it. `told` says what they show."""
    from huggingface_hub import ModelCard  # takes half a second

    body = "\n\n".join(_parts(document, told))
    return str(ModelCard(f"---\n{_head(found)}\n---\n\n{body}\n"))


def _head(found: Evidence) -> str:
    from huggingface_hub import ModelCardData

    task = "tabular-regression" if found.schema.label.task == "regression" else "tabular-classification"
    measured = found.metrics.held_out.get("ensemble", {}) if found.metrics else {}
    data = ModelCardData(
        model_name=found.model,
        library_name="homeostat",
        pipeline_tag=task,
        tags=["tabular", found.schema.label.task],
        metrics=list(measured) or None,
        eval_results=_results(found, task, measured) or None,
    )
    return str(data.to_yaml())


def _results(found: Evidence, task: str, measured: Mapping[str, float]) -> list[EvalResult]:
    from huggingface_hub import EvalResult

    source = found.lineage.data_source if found.lineage else "unknown"
    return [
        EvalResult(
            task_type=task,
            dataset_type="tabular",
            dataset_name=source,
            dataset_split="held out",
            dataset_revision=found.lineage.data_sha256 if found.lineage else None,
            metric_type=metric,
            metric_name=name(metric),
            metric_value=float(f"{value:.6g}"),
        )
        for metric, value in measured.items()
    ]


def _parts(document: Document, told: Mapping[str, Told]) -> Iterator[str]:
    yield f"# {document.title}"
    yield _block(document.summary, told)
    if document.keys:
        rows = tuple((key.name, key.value, f"[{key.source}]") for key in document.keys)
        yield _rows(("at a glance", "figure", "from"), rows)
    for section in document.sections:
        yield f"## {section.title}"
        yield from (text for block in section.blocks if (text := _block(block, told)))


def _block(block: Block, told: Mapping[str, Told]) -> str:
    if isinstance(block, Paragraph):
        return _sentence(block)
    if isinstance(block, Bullets):
        return "\n".join(f"- {_sentence(item)}" for item in block.items)
    if isinstance(block, Table):
        return f"**{block.caption}** [{block.source}]\n\n{_rows(block.head, block.rows)}"
    if isinstance(block, Commands):
        return "```\n" + "\n".join(block.lines) + "\n```\n\n" + f"[{block.source}]"
    return _picture(block, told)


def _picture(block: Picture, told: Mapping[str, Told]) -> str:
    if block.name not in told:
        return ""
    title, text = told[block.name]
    return f"![{_alt(title)}. {_alt(text)}]({FOLDER}/{block.name}.svg)\n\n{title} [{block.source}]"


def _alt(text: str) -> str:
    return text.replace("[", "(").replace("]", ")").rstrip(".")


def _sentence(block: Paragraph) -> str:
    return f"{block.text} [{block.source}]" if block.source else block.text


def _rows(head: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
