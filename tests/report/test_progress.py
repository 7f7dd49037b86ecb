import io

from rich.console import Console

from retrieval_bench.report.progress import StageProgress


def test_without_a_terminal_a_stage_is_one_line_when_it_is_done() -> None:
    out = io.StringIO()
    with StageProgress(Console(file=out, width=80)) as progress:
        for done in range(0, 2049, 512):
            progress("embed [gallery]", done, 2048)
        progress("build", 0, 1)
    assert out.getvalue().startswith("embed [gallery]: 2,048 in ")
    assert out.getvalue().count("\n") == 1


def test_a_stage_with_nothing_to_do_says_nothing_and_a_finished_one_stays_finished() -> None:
    out = io.StringIO()
    with StageProgress(Console(file=out, width=80)) as progress:
        progress("embed", 10, 10)
        progress("search", 0, 2)
        progress("search", 2, 2)
        progress("search", 2, 2)
    assert out.getvalue().count("\n") == 1


def test_on_a_terminal_there_is_a_bar_with_counts() -> None:
    out = io.StringIO()
    console = Console(file=out, width=100, force_terminal=True, color_system=None)
    with StageProgress(console) as progress:
        progress("embed", 0, 4)
        progress("embed", 3, 4)
    assert "embed" in out.getvalue()
    assert "3/4" in out.getvalue()


def test_what_follows_a_dot_may_change_on_the_way() -> None:
    out = io.StringIO()
    with StageProgress(Console(file=out, width=80)) as progress:
        for done in range(1, 5):
            progress(f"train · epoch {done} of 4", done, 4)
    assert out.getvalue().startswith("train · epoch 4 of 4: 4 in ")
    assert out.getvalue().count("\n") == 1
