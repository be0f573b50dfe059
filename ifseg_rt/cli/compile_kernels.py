"""``python -m ifseg_rt.cli.compile_kernels``: every kernel for every target, without a GPU or a driver."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from ifseg_rt.cache import replace_file
from ifseg_rt.cli.exit_codes import parse, run_command
from ifseg_rt.errors import UsageError
from ifseg_rt.kernels.compile import SOURCES, TARGETS, Compiled, compile_source

_USE = re.compile(r"entry function '(\w+)'.*?Used (\d+) registers(.*?)\n", re.DOTALL)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compile ahead of time, print a table on standard output, and return the exit code."""
    return run_command(lambda given: _run(parse(_parser(), given)), arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ifseg_rt.cli.compile_kernels",
        description="Compiles the CUDA kernels ahead of time; needs no GPU.",
    )
    parser.add_argument("--targets", nargs="+", default=list(TARGETS), metavar="sm_NN", help="default: %(default)s")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="write DIR/<source>.<target>.cubin")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser


def _run(options: argparse.Namespace) -> None:
    unknown = [target for target in options.targets if not re.fullmatch(r"(sm|compute)_\d+[af]?", target)]
    if unknown:
        raise UsageError(f"a target is written sm_NN or compute_NN; found {', '.join(unknown)}")
    if options.output is not None:
        _make_folder(options.output)
    rows = [("kernel", "target", "file bytes", "registers", "shared bytes")]
    for target in options.targets:
        for source in SOURCES:
            compiled = compile_source(source, target)
            rows += _rows(source, target, compiled)
            if options.output is not None:
                replace_file(options.output / f"{source}.{target}.{compiled.kind}", compiled.code)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        sys.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError, ValueError):
        raise UsageError(f"{folder} cannot be a folder: a file of that name is there, or it is no name") from None
    except OSError as error:
        raise UsageError(f"the folder {folder} cannot be made: {error.strerror}") from None


def _rows(source: str, target: str, compiled: Compiled) -> list[tuple[str, str, str, str, str]]:
    rows = []
    for name, registers, rest in _USE.findall(compiled.log):
        shared = re.search(r"(\d+) bytes smem", rest)
        rows.append((name, target, str(len(compiled.code)), registers, shared[1] if shared else "0"))
    return sorted(rows) or [(source, target, str(len(compiled.code)), "-", "-")]


if __name__ == "__main__":
    sys.exit(main())
