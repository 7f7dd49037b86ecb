"""The command line: `retrieval-bench run | query | report | …`. Imports nothing heavy before it must."""

from __future__ import annotations

import argparse
import errno
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from retrieval_bench.errors import RetrievalBenchError
from retrieval_bench.running import terminal as _console

if TYPE_CHECKING:
    from retrieval_bench.experiment import Experiment
    from retrieval_bench.sweep import Outcome

# What the file system may refuse: not a fault of the program, so one message.
REFUSED = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}
    | {errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP}  # a place that can be no folder
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("retrieval-bench", description="Image and video retrieval measured end to end.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="encode, index, search and measure; prints the table",
        epilog="Overrides are Hydra's: data=cars196 'search=[exact,hnsw]' k=[10,100]. With -m commas sweep: seed=0,1,2",
    )
    run.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    run.add_argument("-m", "--multirun", action="store_true", help="run every combination of comma-separated values")
    run.add_argument(
        "--config-dir", type=Path, help="a folder with configurations of your own (search/my_index.yaml, …)"
    )
    run.add_argument("--cfg", action="store_true", help="print the composed configuration and stop")
    query = commands.add_parser("query", help="search a finished run's gallery with your own pictures or videos")
    query.add_argument("run", type=Path, metavar="RUN", help="run folder, as printed at the end of the run")
    query.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a picture, or a video of a run over videos")
    query.add_argument("--index", help="one of the run's indexes (default: exact, else its first)")
    query.add_argument("--stage", help="one of the run's stages (default: its last)")
    query.add_argument("--effort", type=int, help="value of the index's knob (default: the highest measured)")
    query.add_argument("-k", type=int, default=10, help="how many neighbours, or moments (default: 10)")
    query.add_argument("--sheet", type=Path, default=Path(), help="folder for the contact sheets (default: this one)")
    query.add_argument("--root", type=Path, metavar="FOLDER", help="where the run's data lie now, if they moved")
    query.add_argument(
        "--allow", action="append", default=[], metavar="TARGET", help="a backend of your own that the run used"
    )
    _report_options(commands.add_parser("report", help="one HTML page, readable offline, from finished runs"))
    compare = commands.add_parser("compare", help="paired comparison of two runs, or of two folders of runs over seeds")
    compare.add_argument("a", type=Path, metavar="A")
    compare.add_argument("b", type=Path, metavar="B")
    compare.add_argument("--stage-a", help="compare this stage of A …")
    compare.add_argument("--stage-b", help="… with this stage of B (A and B may be one run)")
    data = commands.add_parser("data", help="list the data sets, fetch one, or read one whole: what is wrong with it?")
    data.add_argument("action", choices=("list", "prepare", "check"))
    data.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="but for list: data=NAME data.root=FOLDER …")
    commands.add_parser("doctor", help="what is installed, which backends work, which extra installs the rest")
    return parser


def _report_options(report: argparse.ArgumentParser) -> None:
    report.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders, or folders of runs")
    report.add_argument("--out", type=Path, help="the page (default: report.html in the run's folder, or here)")
    report.add_argument("--table", choices=("latex", "csv", "markdown"), help="a table for a paper instead of the page")
    report.add_argument("--figure", type=Path, metavar="FILE", help="the Pareto figure (.svg, .pdf, .png) instead")
    report.add_argument("--metric", default="ann_recall", help="of the figure (default: ann_recall)")
    report.add_argument("--cost", default="latency_p50_ms", help="of the figure (default: latency_p50_ms)")


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments; overrides may stand before and after options."""
    parser = _parser()
    args, rest = parser.parse_known_args(argv)
    if any(word.startswith("-") for word in rest) or (rest and "overrides" not in args):
        parser.error(f"unknown arguments: {' '.join(rest)}")
    if rest:
        args.overrides += rest
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point. A user's mistake is one message and exit code 2; a failed index under strict=true is 1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that cannot show a character shows ? instead
            stream.reconfigure(errors="replace")
    args = _parsed(argv)
    told = {"query": _query, "report": _report, "compare": _compare, "data": _data, "doctor": _doctor}
    try:
        return {"run": _run, **told}[args.command](args)
    except RetrievalBenchError as error:
        _console(stderr=True).print(f"[bold red]error:[/] {_escape(str(error))}", highlight=False, soft_wrap=True)
        return 2
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        where = f": {error.filename}" if error.filename else ""
        places = {"query": "--sheet FOLDER", "report": "--out FILE"}
        other = places.get(args.command, "paths.runs=FOLDER and paths.cache=FOLDER")
        text = f"{error.strerror}{where}. Free it or choose another place with {other}"
        _console(stderr=True).print(f"[bold red]error:[/] {_escape(text)}", highlight=False, soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        # Without rich: importing it takes long enough for an impatient second Ctrl-C to end in a traceback.
        print("interrupted; what was finished is kept, and the same command goes on from there", file=sys.stderr)
        return 130


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _run(args: argparse.Namespace) -> int:
    import yaml

    from retrieval_bench import cli
    from retrieval_bench.overrides import several
    from retrieval_bench.running import any_failed, run_shown

    if args.cfg:
        print(yaml.safe_dump(cli.composed(args.overrides, args.config_dir), sort_keys=False), end="")
        return 0
    if args.multirun:
        return _sweep(args)
    named = any(text.startswith("experiment=") for text in args.overrides)
    if named and (runs := several(args.overrides, cli.composed(args.overrides, args.config_dir))):
        args.overrides = runs
        return _sweep(args)
    experiment = cli.experiment(args.overrides, args.config_dir)
    record = run_shown(experiment)
    return int(bool(experiment.config["strict"]) and any_failed(record))


def _sweep(args: argparse.Namespace) -> int:
    """Exit code 2 if every job failed, 1 if some did, or an index under strict=true."""
    from retrieval_bench import cli
    from retrieval_bench.report.sweep import render_sweep
    from retrieval_bench.sweep import FAILED
    from retrieval_bench.sweep_estimate import expected

    def begin(experiment: Experiment, known: list[Outcome]) -> None:
        _console(stderr=True).print(expected(experiment, known), highlight=False, markup=False, soft_wrap=True)

    sweep, outcomes = cli.multirun(args.overrides, args.config_dir, begin)
    _console().print(render_sweep(outcomes, sweep.write_table(outcomes)))
    failed = [one for one in outcomes if one.status == FAILED]
    return 2 if failed and len(failed) == len(outcomes) else int(bool(failed) or any(one.strict for one in outcomes))


def _query(args: argparse.Namespace) -> int:
    from retrieval_bench import cli
    from retrieval_bench.errors import DataNotFound
    from retrieval_bench.query import Question, answer
    from retrieval_bench.record import RunRecord

    record = RunRecord.load(args.run)
    question = Question(args.files, args.index, args.stage, args.effort, args.k, args.sheet)
    console = _console()
    try:
        for renderable in answer(record, lambda: cli.reopen(record, args.allow, args.root), question):
            console.print(renderable)
    except DataNotFound as error:  # this command takes no override
        raise DataNotFound(str(error).replace("data.root=FOLDER", "--root FOLDER")) from error
    return 0


def _report(args: argparse.Namespace) -> int:
    if args.table or args.figure:
        from retrieval_bench.report.paper import Paper, for_paper

        text, files, skipped = for_paper(args.runs, Paper(args.table, args.figure, args.metric, args.cost))
        print(text, end="")
        for file in files:
            print(file, file=sys.stderr if args.table else sys.stdout)
    else:
        from retrieval_bench.report.page import report_runs

        path, skipped = report_runs(args.runs, args.out)
        print(path)
    for reason in skipped:
        _console(stderr=True).print(f"skipped: {_escape(reason)}", highlight=False, soft_wrap=True)
    return 0


def _compare(args: argparse.Namespace) -> int:
    from retrieval_bench.comparison_groups import compare_any
    from retrieval_bench.report.comparison import render_comparison

    _console().print(render_comparison(compare_any(args.a, args.b, args.stage_a, args.stage_b)))
    return 0


def _data(args: argparse.Namespace) -> int:
    from retrieval_bench import cli
    from retrieval_bench.doctor import check_data, list_data
    from retrieval_bench.errors import CorruptInput, DataNotFound
    from retrieval_bench.report.progress import StageProgress

    if args.action == "list":
        _console().print(list_data(cli.CONF))
        return 0
    try:
        if args.action == "prepare":
            _prepare(args.overrides)
            return 0
        with StageProgress() as progress:
            found = check_data(cli.experiment(args.overrides).data, progress)
    except (CorruptInput, DataNotFound) as error:  # what is wrong is the answer here, not a failure to answer
        _console().print(_escape(str(error)), highlight=False, soft_wrap=True)
        return 1
    _console().print(found)
    return int(found.wrong > 0)


def _prepare(overrides: list[str]) -> None:
    """Fetch what can be fetched, and look whether all of it is there."""
    from retrieval_bench import cli

    fetched = ["data.download=true"] if "download" in cli.composed(overrides)["data"] else []
    data = cli.experiment([*overrides, *fetched]).data
    _console().print(f"{data.name} is ready: {data.protocol}", markup=False, highlight=False, soft_wrap=True)


def _doctor(args: argparse.Namespace) -> int:
    from retrieval_bench import cli
    from retrieval_bench.doctor import examine

    del args
    _console().print(examine(cli.CONF))
    return 0


if __name__ == "__main__":
    sys.exit(main())
