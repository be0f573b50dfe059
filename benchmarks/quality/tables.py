"""Measured quality as Markdown: the whole set, every class, and what was taken for what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from benchmarks.quality.evaluation import Quality
from benchmarks.records.markdown import markdown_table, percent


def quality_tables(rows: Sequence[Quality], names: Sequence[str]) -> str:
    """Return the tables in per cent: the set as a whole, the classes, and the last row's most frequent mistakes.

    Args:
        rows: what was measured.
        names: of the classes, in label order.
    """
    return "\n".join(part for part in (_whole(rows), _classes(rows, names), _mistakes(rows[-1], names)) if part)


def quality_rows(rows: Sequence[Quality], names: Sequence[str]) -> list[dict[str, object]]:
    """Return plain values of every row, ready for JSON."""
    return [
        {
            "model": row.model,
            "refined": row.refined,
            "refinement": list(row.averaging) if row.averaging else None,
            **asdict(row.scores),
            "mistakes": [
                {**asdict(found), "truth": names[found.truth], "prediction": names[found.prediction]}
                for found in row.mistakes
            ],
        }
        for row in rows
    ]


def _whole(rows: Sequence[Quality]) -> str:
    cells = [
        [
            row.model,
            "{} neighbours, {} rounds".format(*row.averaging) if row.averaging else "off",
            percent(row.scores.miou),
            percent(row.scores.all_accuracy),
            percent(row.scores.mean_accuracy),
        ]
        for row in rows
    ]
    return markdown_table(["model", "refinement", "mIoU", "aAcc", "mAcc"], cells)


def _classes(rows: Sequence[Quality], names: Sequence[str]) -> str:
    """IoU with every setting; of the last setting also how complete and how pure each class is found."""
    last = rows[-1].scores
    cells = [
        [
            name,
            *(percent(row.scores.iou[index]) for row in rows),
            percent(last.accuracy[index]),
            percent(last.precision[index]),
            percent(last.share[index]),
        ]
        for index, name in enumerate(names)
    ]
    return markdown_table(["IoU", *(row.title for row in rows), "accuracy", "precision", "share"], cells)


def _mistakes(row: Quality, names: Sequence[str]) -> str:
    if not row.mistakes:
        return ""
    cells = [
        [
            f"{names[found.truth]} taken for {names[found.prediction]}",
            percent(found.share),
            percent(found.pixels / row.scores.pixels),
        ]
        for found in row.mistakes
    ]
    return markdown_table([f"mistakes of {row.title}", "of the class", "of all pixels"], cells)
