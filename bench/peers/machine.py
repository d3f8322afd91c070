"""What machine this is, in words."""

import os
import platform
import subprocess
import time
from pathlib import Path


def machine(folder: Path) -> dict[str, str]:
    """Return the machine in words (with the file system of a folder), the date, and the load."""
    model = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    system = subprocess.run(
        ["findmnt", "-no", "FSTYPE", "-T", str(folder)], capture_output=True, text=True, check=False
    )
    kind = (system.stdout.split() or ["an unknown file system"])[0]
    parts = [
        f"{os.cpu_count()} cores of {(model or [platform.machine()])[0]}",
        f"{memory / (1 << 30):.0f} GiB",
        f"{platform.system()} {platform.release()}",
        f"all files in {kind}",
    ]
    load = f"{os.getloadavg()[0]:.1f}"
    return {"machine": ", ".join(parts), "date": time.strftime("%Y-%m-%d %H:%M"), "load": load}
