"""What holds for every test: nothing of a developer's own environment, and threads that wait without spinning."""

import os

from turnstream.settings import Settings

# libgomp reads this as torch is loaded. A stack under test has the same few cores as the test.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

for name in set(Settings.model_fields) - {"cache_dir"}:
    os.environ.pop(name.upper(), None)
Settings.model_config["env_file"] = None
