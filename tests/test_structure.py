"""The layers and ceilings of the design, read from the code itself."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "retrieval_bench"
FILES = sorted(p for p in PACKAGE.rglob("*.py") if "conf" not in p.relative_to(PACKAGE).parts)
FOLDERS = {"media", "data", "encoder", "head", "loss", "transform", "search", "metric", "rerank", "moment"}
LAYERS = {
    **dict.fromkeys(("types", "errors", "nearest", "machine", "hashing", "binding", "intervals"), 0),
    **dict.fromkeys(("_once", "__init__", "_compiled"), 0),
    **dict.fromkeys(
        (
            "_tiles",
            "_slab",
            "_blocks",
            "_simd",
            "_filter",
            "_panels",
            "_microkernel",
            "_convert",
            "_pairs",
            "_masks",
            "_thresholds",
        ),
        0,
    ),  # parts of nearest
    **dict.fromkeys(("guard", "overrides", "diagnosis", "secrecy"), 0),  # of the command line
    "_row_store": 0,  # of embed, and of what data draw
    **dict.fromkeys(FOLDERS, 1),
    # parts of embed; parts of measure
    **dict.fromkeys(("_lists", "_item_batches", "_kept", "_kept_blocks", "_transformed", "_encode", "_clips"), 2),
    **dict.fromkeys(("_cycles", "_epochs", "_pixels", "_stored", "augment", "augment_clip", "sampler"), 2),  # of train
    **dict.fromkeys(("_checkpoint", "_fit", "_feed", "_headed", "_heap", "_learner", "_look", "_material"), 2),
    **dict.fromkeys(("_trained_files", "optimizer"), 2),
    **dict.fromkeys(("_job", "_measurement", "_messages", "_recipe", "_results", "_scene", "_store", "_workers"), 2),
    **dict.fromkeys(
        ("_moments", "_questions", "_point_columns", "_clusters", "_settings", "moment_points"), 2
    ),  # of measure, and of points,
    **dict.fromkeys(
        (
            "train",
            "embed",
            "truth",
            "moment_truth",
            "worker",
            "measure",
            "choose",
            "stats",
            "seeds",
            "comparison",
            "comparison_groups",
            "record",
            "track",
            "_readings",
            "_tracker",
            "_tracker_mlflow",
            "_tracker_wandb",
            "points",
            "goals",
            "collisions",
            "collapse",
            "break_even",
            "environment",
            "estimate",
            "salvage",
            "runs",
            "naming",
            "turns",
            "video_cost",
        ),
        2,
    ),
    **dict.fromkeys(("experiment", "stages", "pipeline", "report", "query", "facts", "doctor", "_data_check"), 3),
    **dict.fromkeys(("_ask_clips", "_ask_images", "_ask_moments", "_asking", "_opened"), 3),  # parts of query
    **dict.fromkeys(("foresight", "origin", "request", "wanted", "_earlier", "assembly", "running", "telling"), 3),
    **dict.fromkeys(("sweep", "sweep_estimate", "study", "objective", "_journal"), 3),
    **dict.fromkeys(("examples", "moment_examples", "_thumbnails"), 3),
    **dict.fromkeys(("cli", "commands"), 4),
}
# What steps may use of the pluggable folders; concrete ones come by configuration.
OPEN_TO_STEPS = ("rerank.", "moment.", "media.", "metric.")
OPEN_TO_STEPS += ("transform.base", "data.base", "encoder.base", "search.base", "head.base", "loss.base")
TORCH = {"torch", "torchvision", "timm", "openvino"}
# What may be imported at the top of a file, by module or folder; elsewhere only numpy and small libraries may.
HEAVY = {
    "encoder": TORCH,
    "head": TORCH,
    "loss": TORCH,
    "embed": {"torch"},
    **dict.fromkeys(
        ("train", "_checkpoint", "_fit", "_feed", "_headed", "_learner", "_look", "_trained_files"),
        TORCH | {"pytorch_lightning"},
    ),
    "augment": TORCH,
    "augment_clip": TORCH,
    "track": {"pytorch_lightning", "wandb"},
    "report": {"matplotlib"},
    "cli": {"hydra", "omegaconf"},
}
WATCHED = TORCH | {
    "pytorch_lightning",
    "wandb",
    "mlflow",
    "tensorboard",
    "matplotlib",
    "hydra",
    "omegaconf",
}
ANN = {"faiss", "hnswlib", "annoy", "usearch", "datasketch", "pymilvus"}
WATCHED |= ANN


def unit(file: Path) -> str:
    """The row of the layer table that a file belongs to."""
    parts = file.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else file.stem


def layer(name: str) -> int:
    return LAYERS[name]


def imports(file: Path) -> list[tuple[str, bool]]:
    """(module, imported at the top of the file) for each import; type-checking imports count as not at the top."""
    tree = ast.parse(file.read_text())
    typing_only = {
        id(n)
        for guard in ast.walk(tree)
        if isinstance(guard, ast.If) and isinstance(guard.test, ast.Name) and guard.test.id == "TYPE_CHECKING"
        for n in ast.walk(guard)
    }
    inner = {
        id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef) for n in ast.walk(f)
    }
    found = []
    for node in ast.walk(tree):
        top = id(node) not in inner and id(node) not in typing_only
        if isinstance(node, ast.Import):
            found += [(alias.name, top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            package = node.module.replace("retrieval_bench", "", 1).strip(".") in {"", *FOLDERS, "report"}
            if node.module.startswith("retrieval_bench") and package:
                found += [(f"{node.module}.{alias.name}", top) for alias in node.names]
            else:
                found += [(node.module, top)]
    return found


def ours(file: Path) -> set[str]:
    return {name.removeprefix("retrieval_bench.") for name, _ in imports(file) if name.startswith("retrieval_bench.")}


@pytest.mark.parametrize("file", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_layers(file: Path) -> None:
    here = unit(file)
    for name in ours(file):
        other, _, rest = name.partition(".")
        if other == here and other in FOLDERS:
            assert rest == "base" or rest.startswith("_") or here in {"metric", "moment", "report", "media"}, (
                f"{file.name} imports its neighbour {name}"
            )
        elif layer(here) == 1 and layer(other) == 1:
            assert here == "data" and other == "media", f"{here} may not import {name}"
        elif layer(here) == 2 and layer(other) == 1:
            assert rest == "base" or other == "metric", f"{here} may import only base files of {other}, not {name}"
        elif layer(here) == 3 and layer(other) == 1:
            assert f"{other}.{rest}".startswith(OPEN_TO_STEPS), f"{here} may not import the concrete {name}"
        elif layer(here) == 4:
            assert layer(other) in {0, 3, 4} or other in {"record", "comparison", "comparison_groups", "runs"}, (
                f"{here} may not import {name}"
            )
        else:
            assert layer(other) <= layer(here), (
                f"{here} (layer {layer(here)}) may not import {name} (layer {layer(other)})"
            )


@pytest.mark.parametrize("file", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_heavy_libraries_stay_where_they_belong(file: Path) -> None:
    allowed = HEAVY.get(unit(file), set())
    for name, top in imports(file):
        library = name.partition(".")[0]
        if library in {"hydra", "omegaconf"}:
            assert unit(file) == "cli", "only cli.py knows Hydra"
        elif top and library in WATCHED:
            assert library in allowed, f"{file.name} imports {library} at its top"


@pytest.mark.parametrize("file", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_search_file_uses_one_library_at_most(file: Path) -> None:
    libraries = {name.partition(".")[0] for name, _ in imports(file)} & ANN
    assert len(libraries) <= (unit(file) == "search"), f"{file.name} imports {libraries}"


@pytest.mark.parametrize("file", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_ceilings(file: Path) -> None:
    text = file.read_text()
    assert text.count("\n") <= 300
    assert len(file.relative_to(PACKAGE).parts) <= 2
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno + 1 <= 40, node.name
            parameters = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            parameters = [a for a in parameters if a not in {"self", "cls"}]
            assert node.name == "__init__" or len(parameters) <= 6, node.name
            assert node.args.kwarg is None, f"{node.name} takes **{node.args.kwarg}"
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, "bare except"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "hasattr"
    assert "utils" not in file.stem


def test_median_length_is_small() -> None:
    lengths = sorted(f.read_text().count("\n") for f in FILES if f.name != "__init__.py")
    assert lengths[len(lengths) // 2] <= 125


def test_no_import_cycles() -> None:
    graph = {
        str(f.relative_to(PACKAGE).with_suffix("")).replace("/", "."): {n for n, top in imports(f) if top}
        for f in FILES
    }
    graph = {
        name: {n.removeprefix("retrieval_bench.") for n in needs if n.startswith("retrieval_bench.")}
        for name, needs in graph.items()
    }

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " → ".join((*path, name))
        for needed in graph.get(name, ()):
            visit(needed, (*path, name))

    for name in graph:
        visit(name, ())


def test_public_names_are_few_and_resolve() -> None:
    import retrieval_bench

    assert len(retrieval_bench.__all__) <= 12
    for name in retrieval_bench.__all__:
        assert getattr(retrieval_bench, name) is not None


def test_inheritance_is_shallow() -> None:
    """At most two steps between our own classes: HNSW → what Faiss indexes share → Index."""
    bases: dict[str, list[str]] = {}
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef) and file.stem != "errors":
                bases.setdefault(node.name, []).extend(b.id for b in node.bases if isinstance(b, ast.Name))

    def depth(name: str) -> int:
        return max((1 + depth(base) for base in bases[name] if base in bases and base != name), default=0)

    assert {name: depth(name) for name in bases if depth(name) > 2} == {}
