"""What holds for every test: nothing of a developer's own environment, and threads that wait without spinning."""

import os
import signal

from turnstream.settings import Settings

# libgomp reads this as torch is loaded. A stack under test has the same few cores as the test.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

for name in set(Settings.model_fields) - {"cache_dir"}:
    os.environ.pop(name.upper(), None)
Settings.model_config["env_file"] = None

# Ignored by what a shell starts in the background, and by its children: tests press Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
