"""Everything that waits for a GPU, within ten minutes on one: memory, time, share of its peak, and the plan beside.

    python -m bench.gpu                  # all parts; the same command goes on where it was stopped
    python -m bench.gpu --parts 8gb flow # some of them
    python -m bench.gpu --again speed    # measure a part anew

Real architectures with random weights, made on the device: nothing is downloaded. Each part runs in a process of its
own; each row is one ROCM step with everything in it, as `kedge train` makes it, and beside it what `kedge plan` says of
the same recipe. A row is written down as soon as it is measured (docs/records/gpu.json), and docs/results/gpu.md after
each part, with the hardware's name. Rows of other hardware are measured anew.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # it warns that torchvision, which is not needed, is missing

from bench.gpu_cases import PARTS, Case
from bench.gpu_page import page_of
from bench.gpu_step import Setting, measure
from bench.hardware import hardware
from kedge.files import write_text

ROOT = Path(__file__).parents[1]
RECORD, PAGE = ROOT / "docs" / "records" / "gpu.json", ROOT / "docs" / "results" / "gpu.md"
MINUTES = 10.0


def main() -> None:
    """Run the parts that are missing, each in its own process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="*", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--again", nargs="*", default=[], choices=list(PARTS))
    parser.add_argument("--minutes", type=float, default=MINUTES, help="after which no further row is begun")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--scale", type=float, default=1.0, help="of the architectures, to try the program itself")
    parser.add_argument("--out", type=Path, default=RECORD)
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--part", choices=list(PARTS), help=argparse.SUPPRESS)  # one part, in this process
    arguments = parser.parse_args()
    setting = Setting(arguments.device, arguments.scale)
    if arguments.part:
        return run_part(arguments.part, setting, arguments.out, time.monotonic() + 60 * arguments.minutes)
    until = time.monotonic() + 60 * arguments.minutes
    forget(arguments.again, setting, arguments.out)
    for part in [*arguments.again, *(part for part in arguments.parts if part not in arguments.again)]:
        left = (until - time.monotonic()) / 60
        if left <= 0:
            print(f"{part}: no time left; the same command goes on with it", flush=True)
            continue
        call = [sys.executable, "-m", "bench.gpu", "--part", part, "--minutes", str(left), "--out", str(arguments.out)]
        subprocess.run([*call, "--device", arguments.device, "--scale", str(arguments.scale)], check=False)
        if arguments.out.is_file():
            write_text(arguments.page, page_of(json.loads(arguments.out.read_text(encoding="utf-8"))))
    print(arguments.page)


def forget(parts: list[str], setting: Setting, out: Path) -> None:
    """Rows that are to be measured again, and those of another device or size."""
    record = read(setting, out)
    for part in parts:
        for case in PARTS[part]:
            record["rows"].pop(case.key, None)
    save(record, out)


def run_part(part: str, setting: Setting, out: Path, until: float) -> None:
    """The rows of a part that are missing."""
    for case in PARTS[part]:
        record = read(setting, out)
        if case.key in record["rows"] or time.monotonic() > until:
            continue
        record["rows"][case.key] = row(case, setting)
        save(record, out)
        print(f"{case.key}: {record['rows'][case.key]}", flush=True)


def row(case: Case, setting: Setting) -> dict[str, Any]:
    """What a case took, or why it did not come to an end."""
    try:
        return asdict(measure(case, setting))
    except (RuntimeError, ValueError) as error:  # out of memory is one: it is what the row is to tell
        return {"error": f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"}


def read(setting: Setting, out: Path) -> dict[str, Any]:
    """The record of this device and size; a new one where there is none."""
    facts = {"hardware": hardware(setting.device), "scale": setting.scale}
    known: Mapping[str, Any] = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {}
    if all(known.get(key) == value for key, value in facts.items()):
        return dict(known)
    return {**facts, "versions": versions(), "rows": {}}


def versions() -> dict[str, str | None]:
    """Of what decides speed."""
    import diffusers
    import torch

    return {"torch": torch.__version__, "diffusers": diffusers.__version__, "cuda": torch.version.cuda}


def save(record: Mapping[str, Any], out: Path) -> None:
    """Write it down."""
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, json.dumps(record, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
