"""How much memory a process holds."""

import os
import subprocess
from pathlib import Path


def resident(pid: int) -> int:
    """Bytes in physical memory; 0 where the process is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except FileNotFoundError:  # it is gone, or this is macOS
        shown = subprocess.run(
            ["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=False, timeout=10
        )
        return int(shown.stdout.strip() or 0) * 1024
