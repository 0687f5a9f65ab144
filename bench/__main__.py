"""``make bench``: the measurements below, one after the other, on the machine that it is run on."""

from __future__ import annotations

import subprocess
import sys

BENCHES = ("rocm", "oracle", "sd15", "plan", "rewards")

for name in BENCHES:
    print(f"\n== {name} ==", flush=True)
    subprocess.run([sys.executable, "-m", f"bench.{name}"], check=True)
