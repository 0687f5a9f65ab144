"""``kedge study``: human raters judge pairs, blind; what they said is reported and learnt from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from kedge.study.store import Store

app = typer.Typer(
    help="Human raters: make a blind study, serve it in a browser, report it, and learn from the votes.",
    no_args_is_help=True,
)
Folder = Annotated[Path, typer.Argument(metavar="STUDY", help="A study's folder.")]
PORT = 8765


@app.command()
def new(
    target: Annotated[str, typer.Argument(metavar="RUN|MODEL|IMAGES", help="What is to be judged.")],
    against: Annotated[
        list[str] | None,
        typer.Option(help="base, itself, reseeded, or another run, model or folder of images; may be repeated."),
    ] = None,
    prompts: Annotated[
        str | None, typer.Option(help="A file, a named set or a hub data set. By default the run's held-out prompts.")
    ] = None,
    pairs: Annotated[int, typer.Option(min=1, help="Pairs to judge, over all matchups.")] = 300,
    raters: Annotated[int, typer.Option(min=0, help="Links to make now; more can follow.")] = 10,
    per_rater: Annotated[int | None, typer.Option(min=1, help="Pairs for each rater; all by default.")] = None,
    questions: Annotated[
        str | None, typer.Option(help="preference, appeal, alignment, or your own as key=text.")
    ] = None,
    checks: Annotated[float, typer.Option(min=0, max=1, help="Share of pairs shown again, swapped.")] = 0.0,
    preset: Annotated[str | None, typer.Option(help="paper: 300 prompts and three questions, as in ROCM.")] = None,
    seed: Annotated[int, typer.Option(help="Of noise, order and sides.")] = 0,
    title: Annotated[
        str, typer.Option(help="Raters see it: it must not say what is compared.")
    ] = "Which picture is better?",
    out: Annotated[Path | None, typer.Option(help="The study's folder; studies/NAME by default.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Sampling steps of every model; its own by default.")] = None,
    guidance: Annotated[float | None, typer.Option(help="ω of every model; its own by default.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures at once.")] = 8,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, …")] = "auto",
) -> None:
    """Draw the pictures of a new study: both sides of a pair from the same seed, sides mixed and balanced."""
    from kedge.study import Design, create_study
    from kedge.study.questions import PAPER, parse_questions
    from kedge.workflows.study import Drawing, find_prompts, find_sources

    if preset not in (None, "paper"):
        raise ValueError(f"no study preset {preset!r}; there is: paper")
    asked = parse_questions(questions or (PAPER if preset else "preference"))
    design = Design(pairs, seed, per_rater, checks)
    texts = find_prompts(target, prompts or ("partiprompts-hps-1-2" if preset else None), seed)
    folder = out or Path("studies") / f"{Path(target).resolve().name}-{seed}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    sources = find_sources(target, against or [], Drawing(steps, guidance, batch_size, device))
    from kedge.workflows.evaluate import progress_bar

    with progress_bar("pairs") as progress:
        shared = "reseeded" not in (against or [])
        store = create_study(folder, sources, texts, asked, design, title=title, shared_noise=shared, progress=progress)
    for _ in range(raters):
        store.add_rater()
    judged = (
        " against ".join(source.name for source in sources) if len(sources) > 1 else f"{sources[0].name} with itself"
    )
    print(f"{folder}: {pairs} pairs, {judged}, {raters} raters\nServe it with: kedge study serve {folder}")


@app.command()
def serve(
    study: Folder,
    host: Annotated[str, typer.Option(help="Whom to listen to: 0.0.0.0 for other machines.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port.")] = PORT,
    address: Annotated[
        str | None, typer.Option(help="How raters reach it, for the links: https://study.example.org")
    ] = None,
) -> None:
    """Serve a study to its raters, until Ctrl-C; print everybody's link."""
    try:
        from kedge.study.server import listen
        from kedge.study.server import serve as run
    except ModuleNotFoundError as error:
        raise ValueError("serving a study needs starlette and uvicorn: pip install starlette uvicorn") from error
    from kedge.study import open_study

    store, everybody = open_study(study), host in ("0.0.0.0", "::")
    listening = listen(host, port)
    place = "127.0.0.1" if everybody else f"[{host}]" if ":" in host else host
    print_links(store, (address or f"http://{place}:{port}").rstrip("/"))
    if everybody and address is None:
        print("note: these links work on this machine; for others give --address http://NAME-OF-THIS-MACHINE:PORT")
    print("Running. Ctrl-C stops the server and loses nothing: every answer is on disk.", flush=True)
    run(store, listening)


@app.command()
def raters(
    study: Folder,
    add: Annotated[list[str] | None, typer.Option(help="Admit a rater of this name; may be repeated.")] = None,
    address: Annotated[str, typer.Option(help="How raters reach the server.")] = f"http://127.0.0.1:{PORT}",
) -> None:
    """Print everybody's link; admit new raters."""
    from kedge.study import open_study

    store = open_study(study)
    for name in add or []:
        store.add_rater(name)
    print_links(store, address.rstrip("/"))


@app.command()
def report(
    study: Folder,
    out: Annotated[Path | None, typer.Option(help="A folder; STUDY/report by default.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Leave a rater's votes out (r3); may be repeated.")] = None,
) -> None:
    """Say who won: HTML, Markdown, JSON, chart and votes, with intervals, agreement and the raters' reliability."""
    from kedge.evaluation.rendering import render
    from kedge.study import open_study, write_study_report
    from kedge.study.report import contest_table, verdicts, warnings

    store = open_study(study)
    analysis = write_study_report(store, out, exclude=exclude or [])
    for line in verdicts(analysis):
        print(line)
    if analysis.contests:
        print("\n" + render(contest_table(analysis), "table"), end="")
    for line in warnings(analysis):
        print(f"note: {line}")
    print(f"report   {(out or study / 'report') / 'report.html'}")


@app.command()
def export(
    study: Folder,
    to: Annotated[Path, typer.Option("--out", help="votes.csv, pickapic.csv, pickapic.parquet or d3po.jsonl.")],
) -> None:
    """Write the votes for other programs: as a table, with Pick-a-Pic's columns, or for algorithm.votes of D3PO.

    The file's name says which: *.jsonl is D3PO's, *pickapic* Pick-a-Pic's, any other .csv the plain table.
    """
    from kedge.study import open_study
    from kedge.study.export import TEXTS, write_pickapic_parquet

    store = open_study(study)
    to.parent.mkdir(parents=True, exist_ok=True)
    if to.suffix == ".parquet":
        write_pickapic_parquet(store, to)
    elif to.suffix in (".jsonl", ".csv"):
        name = "d3po.jsonl" if to.suffix == ".jsonl" else "pickapic.csv" if "pickapic" in to.stem else "votes.csv"
        to.write_text(TEXTS[name](store), encoding="utf-8")
    else:
        raise ValueError(f"--out {to}: the name must end in .csv, .parquet or .jsonl")
    print(to)


@app.command()
def fit(
    studies: Annotated[list[Path], typer.Argument(metavar="STUDY...", help="Studies whose votes are learnt from.")],
    out: Annotated[Path, typer.Option(help="The reward's folder: train with reward=pickscore@FOLDER.")],
    backbone: Annotated[
        str | None, typer.Option(help="emoji, a CLIP folder or a hub id; by default that of the models' world.")
    ] = None,
    question: Annotated[str | None, typer.Option(help="Which votes; the first question's by default.")] = None,
    held_out: Annotated[
        float, typer.Option(min=0.05, max=0.9, help="Share of prompts kept to measure accuracy.")
    ] = 0.2,
    epochs: Annotated[int, typer.Option(min=0, help="At most; the best on validation votes is kept.")] = 12,
    lr: Annotated[float | None, typer.Option(help="By default 5e-6; 2e-5 for the emoji CLIP.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Votes at once.")] = 32,
    layers: Annotated[int | None, typer.Option(min=0, help="Train only so many last layers; all by default.")] = None,
    seed: Annotated[int, typer.Option(help="Of the split and the order.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, …")] = "auto",
) -> None:
    """Learn a reward from the votes, and measure it on prompts that it has not seen."""
    from kedge.devices import find_device
    from kedge.study import fit_preference, open_study
    from kedge.study.comparisons import read_comparisons, split
    from kedge.study.fit import FitSettings
    from kedge.workflows.study import find_backbone

    stores = [open_study(study) for study in studies]
    folder, rate = find_backbone(backbone, stores)
    settings = FitSettings(epochs, batch_size, lr or rate, layers, seed=seed)
    votes = split(read_comparisons(stores, question), held_out, seed)
    made = fit_preference(folder, votes, out, settings, device=str(find_device(device)), progress=print)
    for name, accuracy in (("before", made.before), ("after", made.after)):
        if accuracy is not None:
            low, high = 100 * accuracy.low, 100 * accuracy.high
            print(f"held-out accuracy {name}: {100 * accuracy.value:.0f} % ({low:.0f}–{high:.0f})")
    if made.raters is not None:
        print(f"two raters agree on {100 * made.raters:.0f} % of the pairs that both decided")
    print(f"kept epoch {made.epoch} of {epochs}, from {made.votes} votes\nTrain on it with: reward=pickscore@{out}")


@app.command()
def simulate(
    links: Annotated[list[str], typer.Argument(metavar="LINK...", help="Raters' links, as kedge study serve prints.")],
    blur: Annotated[float, typer.Option(min=0, help="Noise on the difference of two oracle scores.")] = 0.06,
    slips: Annotated[float, typer.Option(min=0, max=1, help="Share of wrong keys.")] = 0.03,
    seed: Annotated[int, typer.Option(help="Of the noise.")] = 0,
) -> None:
    """Let simulated raters vote in an emoji study through its web server; they see what the oracle sees, blurred."""
    from kedge.study.simulate import Habits, oracle_look
    from kedge.study.simulate import simulate as run

    print(f"{run(links, oracle_look(), Habits(blur, slips), seed=seed)} votes")


@app.command()
def demo(
    out: Annotated[Path | None, typer.Option(help="Where everything goes; runs/study-demo by default.")] = None,
    pairs: Annotated[int, typer.Option(min=20, help="Pairs to judge.")] = 900,
    steps: Annotated[int, typer.Option(min=1, help="Optimizer steps of the training.")] = 40,
) -> None:
    """The whole loop in the emoji world: pictures, simulated raters, report, reward, training, and raters again."""
    from kedge.cli.study_demo import run_demo
    from kedge.training.run_folder import fresh_folder

    run_demo(out or fresh_folder("study-demo"), pairs, steps)


def print_links(store: Store, base: str) -> None:
    """The owner's link, then each rater's."""
    print(f"owner      {base}/o/{store.facts().owner}/", flush=True)
    for name, token in store.links():
        print(f"{name:<10} {base}/r/{token}/", flush=True)
