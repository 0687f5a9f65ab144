"""Pages of results, written from the recorded JSON, so that none can say anything else."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kedge_papers.pages.conclusions import CLAIMS
from kedge_papers.pages.findings import MISSING
from kedge_papers.records.records import Result, RunRecord

DATA = "data"
NOTE = "<!-- Written from {source} by docs/generate.py: run `make docs` instead of changing it. -->"
START, END = "<!-- results: written by docs/generate.py -->", "<!-- end of results -->"
INDEX_START, INDEX_END = "<!-- index: written by docs/generate.py -->", "<!-- end of index -->"
SHOWN = {".png": "figure", ".svg": "the same as SVG", ".csv": "CSV", ".tex": "LaTeX"}


def read_results(folder: Path) -> dict[str, Result]:
    """Target → result, of all that are in ``folder/data/TARGET/TARGET.json``."""
    found = [Result.load(path) for path in sorted(folder.glob(f"{DATA}/*/*.json")) if path.stem == path.parent.name]
    return {result.target: result for result in found}


def publish(result: Result, folder: Path) -> Path:
    """Put a result among the pages of ``folder``: its JSON and pictures into ``data/``, drawn again, with its page."""
    home = folder / DATA / result.target
    result.save(home / f"{result.target}.json")
    if (result.folder / "pictures").is_dir():
        shutil.copytree(result.folder / "pictures", home / "pictures", dirs_exist_ok=True)
    return write_page(Result.load(home / f"{result.target}.json"), folder)


def write_page(result: Result, folder: Path) -> Path:
    """Draw a published result and write its page."""
    from kedge_papers import TARGETS

    files = TARGETS.get(result.target).show(result, folder / DATA / result.target)
    path = folder / f"{result.target}.md"
    path.write_text(page(result, files), encoding="utf-8")
    return path


def page(result: Result, files: list[Path]) -> str:
    """The page of a target: tables, figures, then command, budget, machine and time."""
    place = f"{DATA}/{result.target}"
    tables = [path.read_text(encoding="utf-8").strip() for path in files if path.suffix == ".md"]
    figures = [f"![{result.facts['title']}]({place}/{path.name})" for path in files if path.suffix == ".png"]
    others = [
        f"[{SHOWN[path.suffix]}]({place}/{path.name})" for path in files if path.suffix in (".svg", ".csv", ".tex")
    ]
    others.append(f"[the recorded JSON]({place}/{result.target}.json)")
    source = f"{place}/{result.target}.json"
    head = [NOTE.format(source=source), f"# {result.facts['title']}", f"Mirrors {result.facts['mirrors']}."]
    return "\n\n".join([*head, *tables, *figures, f"Also as {', '.join(others)}.", _how(result), _runs(result)]) + "\n"


def _how(result: Result) -> str:
    facts, trained = result.facts, [run for run in result.runs if run.trained]
    machines = dict.fromkeys(_machine(run.machine) for run in trained if run.machine)
    lines = [
        f"```sh\n{facts['command']}\n```",
        f"Measured on {facts['date']} with Kedge {facts['version']} in {facts['about']}.",
        f"Hyper-parameters: {facts['protocol'].strip()}",
    ]
    if trained:
        total = sum(run.seconds for run in trained)
        lines.append(f"Training took {_time(total)} in all ({'; '.join(machines)}).")
    elif facts.get("machine"):
        lines.append(f"On {_machine(facts['machine'])}.")
    return "## How\n\n" + "\n\n".join(lines)


def _machine(machine: Mapping[str, Any]) -> str:
    accelerators = machine.get("accelerators") or []
    device = (
        accelerators[0]
        if accelerators
        else f"{machine.get('device', 'cpu')}, {machine.get('processor', '')}".strip(", ")
    )
    git = machine.get("git") or {}
    commit = f", commit {git['commit'][:10]}" if git.get("commit") else ""
    return f"{device}, {machine.get('threads')} of {machine.get('cores')} threads{commit}"


def _runs(result: Result) -> str:
    rows = [_run(run) for run in result.runs]
    head = "| run | state | steps | network passes | reward queries | training |\n|:---|:---|---:|---:|---:|---:|"
    return "\n".join(["## Runs", "", head, *rows])


def _run(run: RunRecord) -> str:
    trained = run.trained
    cells = [
        f"`{run.name}`",
        run.state,
        f"{run.step}" if trained else "–",
        f"{run.passes * run.step:,.0f}" if trained else "–",
        f"{run.series('step', 'queries')[1][-1]:,.0f}" if trained else "–",
        _time(run.seconds) if trained else "–",
    ]
    return f"| {' | '.join(cells)} |"


def _time(seconds: float) -> str:
    minutes, left = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min {left:02d} s"


def conclusions(results: Mapping[str, Result]) -> str:
    """The page of claims."""
    lines = [
        NOTE.format(source="data/"),
        "# Conclusions",
        "Each claim of the two papers, what was measured here, and whether it holds. A claim *holds* if the 95 % "
        "interval of the difference that it speaks of lies above zero, *does not hold* if it lies below, and is left "
        "open if it includes zero. Intervals are over prompts; with several seeds over seeds, where those lie further "
        "apart. One small world, and as many seeds as the pages say: what holds here need not hold "
        "elsewhere. How it was measured: [reproducing the papers](../reproduce.md).",
        claims(results),
    ]
    return "\n\n".join(lines) + "\n"


def claims(results: Mapping[str, Result], prefix: str = "", *, measured_only: bool = False) -> str:
    """The claims as a table; ``prefix`` leads from the page to docs/results/."""
    rows = ["| claim | source | measured | verdict |", "|:---|:---|:---|:---|"]
    for claim in CLAIMS:
        finding = claim.finding(results)
        known = [name for name in results if name == claim.command or name.rstrip("abcd") == claim.command]
        links = ", ".join(f"[{name}]({prefix}{name}.md)" for name in known)
        by = links or f"`kedge reproduce {claim.command}`"
        if finding.verdict != MISSING or not measured_only:
            rows.append(f"| {claim.text} | {claim.source} | {finding.measured} ({by}) | **{finding.verdict}** |")
    return "\n".join(rows)


def section(results: Mapping[str, Result]) -> str:
    """The README's section, between its markers: what has been measured."""
    left = sum(claim.finding(results).verdict == MISSING for claim in CLAIMS)
    more = f" {left} of {len(CLAIMS)} are not measured yet." if left else ""
    told = f"Claims of the papers, and what came out in the emoji world ([all](docs/results/conclusions.md)).{more}"
    table = claims(results, "docs/results/", measured_only=True) if left < len(CLAIMS) else ""
    return "\n".join(filter(None, (START, told, table and f"\n{table}", END)))


def with_section(text: str, results: Mapping[str, Result]) -> str:
    """``text`` with its section between the markers written anew; unchanged if it has none."""
    return _between(text, START, END, section(results))


def with_index(text: str, results: Mapping[str, Result]) -> str:
    """``text`` with the list of results between its markers written anew."""
    from kedge_papers import TARGETS

    rows = ["| page | mirrors | seeds | budget of a run |", "|:---|:---|---:|---:|"]
    for name, result in results.items():
        seeds = len({run.seed for run in result.runs if run.trained}) or "–"
        title = f"[{result.facts['title']}]({name}.md)"
        rows.append(f"| {title} | {result.facts['mirrors']} | {seeds} | {_budget(result)} |")
    missing = [f"`{name}`" for name in TARGETS if name not in results and f"{name}a" not in results]
    left = f"\nNot run yet: {', '.join(missing)}." if missing else ""
    return _between(text, INDEX_START, INDEX_END, "\n".join([INDEX_START, *rows, left, INDEX_END]))


def _budget(result: Result) -> str:
    """What the runs had, in reward queries and network passes, on average."""
    trained = [run for run in result.runs if run.trained]
    if not trained:
        return "no training"
    queries = {round(run.series("step", "queries")[1][-1]) for run in trained}
    passes = [run.passes * run.step for run in trained]
    if len(queries) == 1:
        return f"{queries.pop():,} queries"
    return f"{sum(passes) / len(passes):,.0f} passes"


def _between(text: str, start: str, end: str, new: str) -> str:
    before, found, rest = text.partition(start)
    _, closed, after = rest.partition(end)
    return f"{before}{new}{after}" if found and closed else text
