"""How the C library is asked to hand out memory."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is Linux's")

HEAPS = """
import ctypes, sys, threading
from turnstream import allocator

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
if sys.argv[1] == "few":
    allocator.few_arenas()
there = threading.Barrier(6)

def work():
    there.wait()
    libc.malloc(1000)
    there.wait()

threads = [threading.Thread(target=work) for _ in range(6)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
libc.fflush(None)
"""


@pytest.mark.parametrize(("how", "few"), [("few", True), ("as it is", False)])
def test_threads_share_two_heaps(how: str, few: bool):
    told = subprocess.run([sys.executable, "-c", HEAPS, how], capture_output=True, text=True, check=True, timeout=60)
    assert (told.stdout.count("<heap nr=") <= 2) is few
