"""The machine, in a line: figures of another one are other figures."""

import os
import re
from pathlib import Path

from .processes import run


def machine_line(folder, regfs):
    """Processors, memory, kernel, the disk's file system, and the program itself."""
    information = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.*)$", information, re.MULTILINE)
    memory = int(re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())[1])
    kernel = re.match(r"[\d.]+", os.uname().release)
    file_system = run(["df", "--output=fstype", folder]).split()[-1]
    name = f" ({model[1].strip()})" if model else ""
    version = run([regfs, "--version"]).strip()
    return (f"{os.cpu_count()} cores{name}, {memory / (1 << 20):.0f} GiB, Linux {kernel[0]},"
            f" {file_system}; {version}")
