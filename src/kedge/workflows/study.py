"""What the commands of ``kedge study`` do: make a study, serve it, report it, learn a reward from its votes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kedge.files import check_writable, typed
from kedge.workflows.study_sources import RESEEDED, Drawing, find_prompts, find_sources

if TYPE_CHECKING:
    import socket

    from kedge.study.store import Store

PAPER_PROMPTS = "partiprompts-hps-1-2"
TITLE = "Which picture is better?"
PORT = 8765


def new_study(
    target: str,
    against: Sequence[str] = (),
    *,
    prompts: str | None = None,
    pairs: int = 300,
    raters: int = 10,
    per_rater: int | None = None,
    questions: str | None = None,
    checks: float = 0.0,
    preset: str | None = None,
    seed: int = 0,
    title: str = TITLE,
    out: Path | None = None,
    secret: str | None = None,
    drawing: Drawing | None = None,
) -> Store:
    """Draw the pictures of a new study and admit its first raters.

    Args:
        target: a run, a model or a folder of images.
        against: ``base``, ``itself``, ``reseeded`` or further targets; by default a run meets its base, a model itself.
        prompts: a file, a named set or a hub data set; None takes what the run is judged by.
        pairs: to judge, over all matchups.
        per_rater: pairs for each rater; None gives everybody all of them.
        questions: ``preference``, ``appeal``, ``alignment``, or one's own as ``key=text``; commas between them.
        checks: share of pairs shown again, swapped.
        preset: ``paper`` asks ROCM's three questions on its prompts.
        title: raters see it; it must not say what is compared.
        out: a new folder; ``studies/NAME-SEED`` by default.
        secret: decides order and sides with the seed; None draws one, so that raters cannot foretell the sides.
        drawing: steps, ω, batch size and device of every model.

    Raises:
        ValueError: for what cannot be compared, prompts that do not follow from the target, or a folder that exists.
    """
    from kedge.study import Design, create_study
    from kedge.study.questions import PAPER, parse_questions
    from kedge.workflows.progress_bar import progress_bar

    if preset not in (None, "paper"):
        raise ValueError(f"no study preset {preset!r}; there is: paper")
    parsed = parse_questions(questions or (PAPER if preset else "preference"))
    texts = find_prompts(target, prompts or (PAPER_PROMPTS if preset else None), seed)
    folder = out or Path("studies") / f"{Path(target).resolve().name}-{seed}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    sources = find_sources(target, against, drawing or Drawing())
    with progress_bar("pairs") as progress:
        store = create_study(
            folder,
            sources,
            prompts=texts,
            questions=parsed,
            design=Design(pairs, seed, per_rater, checks),
            title=title,
            shared_noise=RESEEDED not in against,
            secret=secret,
            progress=progress,
        )
    for _ in range(raters):
        store.add_rater()
    return store


def study_summary(store: Store) -> str:
    """What a new study holds, and how to serve it, as two lines."""
    from kedge.study.records import model_facts

    names = list(model_facts(store))
    judged = " against ".join(names) if len(names) > 1 else f"{names[0]} with itself"
    what = f"{store.folder}: {store.facts().design.pairs} pairs, {judged}, {len(store.links())} raters"
    return f"{what}\nServe it with: kedge study serve {typed(store.folder)}"


def links(store: Store, base: str) -> list[str]:
    """The owner's link, then each rater's, as lines.

    Args:
        base: how the server is reached, such as ``http://127.0.0.1:8765``.
    """
    base = base.rstrip("/")
    return [
        f"owner      {base}/o/{store.facts().owner}/",
        *(f"{name:<10} {base}/r/{token}/" for name, token in store.links()),
    ]


@dataclass(frozen=True)
class StudyServer:
    """A study's web server, listening but not answering yet.

    Attributes:
        base: how its raters reach it.
        local: whether its links work on this machine only.
    """

    store: Store
    listening: socket.socket
    base: str
    local: bool

    def run(self) -> None:
        """Answer until Ctrl-C; every answer is on disk when it is acknowledged."""
        from kedge.study.server import serve

        serve(self.store, self.listening)


def study_server(
    study: str | Path, host: str = "127.0.0.1", port: int = PORT, address: str | None = None
) -> StudyServer:
    """Take the port for a study's server.

    Args:
        host: whom to listen to; ``0.0.0.0`` for other machines.
        address: how raters reach it, for the links; None is this machine.

    Raises:
        ValueError: if the packages for it are missing, there is no such study, or the port is taken.
    """
    try:
        from kedge.study.server import listen
    except ModuleNotFoundError as error:
        raise ValueError("serving a study needs starlette and uvicorn: pip install starlette uvicorn") from error
    from kedge.study import open_study

    store, everybody = open_study(Path(study)), host in ("0.0.0.0", "::")
    place = "127.0.0.1" if everybody else f"[{host}]" if ":" in host else host
    return StudyServer(store, listen(host, port), address or f"http://{place}:{port}", everybody and address is None)


def export_votes(store: Store, path: Path) -> None:
    """Write the votes: .parquet and pickapic….csv as Pick-a-Pic has them, .jsonl for D3PO, any other .csv plain.

    Raises:
        ValueError: for another ending, or a place that cannot be written.
    """
    from kedge.study.export import TEXTS, write_pickapic_parquet

    if path.suffix not in (".parquet", ".jsonl", ".csv"):
        raise ValueError(f"--out {path}: the name must end in .csv, .parquet or .jsonl")
    check_writable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        write_pickapic_parquet(store, path)
        return
    name = "d3po.jsonl" if path.suffix == ".jsonl" else "pickapic.csv" if "pickapic" in path.stem else "votes.csv"
    path.write_text(TEXTS[name](store), encoding="utf-8")


def report_study(store: Store, out: Path | None = None, exclude: Sequence[str] = ()) -> list[str]:
    """Write a study's report, and return who won, as lines: verdicts, the table, warnings, where the report is.

    Args:
        out: a folder; ``STUDY/report`` by default.
        exclude: raters whose votes are left out.

    Raises:
        ValueError: there are no votes, or no such rater.
    """
    from kedge.evaluation.rendering import render
    from kedge.study import write_study_report
    from kedge.study.report import contest_table, verdicts, warnings

    analysis = write_study_report(store, out, exclude=exclude)
    lines = list(verdicts(analysis))
    if analysis.contests:
        lines += ["", render(contest_table(analysis), "table").rstrip("\n")]
    for warning in warnings(analysis):
        lines.append(f"note: {warning}")
    return [*lines, f"report   {(out or store.folder / 'report') / 'report.html'}"]


def simulate_raters(links: Sequence[str], blur: float = 0.06, slips: float = 0.03, seed: int = 0) -> int:
    """Let simulated raters vote in an emoji study through its web server; returns the number of votes.

    Args:
        links: raters' links.
        blur: noise on the difference of two oracle scores.
        slips: share of wrong keys.

    Raises:
        ValueError: a link leads nowhere, or the server refuses a vote.
    """
    from kedge.study.simulate import Habits, oracle_look, simulate

    return simulate(links, oracle_look(), Habits(blur, slips), seed=seed)
