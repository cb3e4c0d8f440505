"""Files of the Hugging Face hub, each with the user's token, in the hub client's own cache."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from schemas.errors import ModelError, WeightsTermsNotAccepted, WeightsTokenRefused, WeightsUnavailable
from turnstream.weights.cache import Say
from turnstream.weights.layout import Reference

METADATA_TIMEOUT = 10.0
"""Seconds the hub has to answer what a file's newest version is; cached files do without the answer."""
MB = 1_000_000
REPORT_EVERY = 10 * MB


class Hub:
    """`folder` is the cache, None for the one the hub client shares with other programs. `online=False` only looks there.

    An empty `token` reads what is public. `setting` is what a user sets to have another model.
    """

    def __init__(
        self,
        token: str,
        folder: Path | None,
        *,
        deadline: float,
        say: Say,
        online: bool = True,
        setting: str = "DIARIZATION_MODEL",
    ) -> None:
        self._token = token
        self._setting = setting
        self._folder = folder
        self._deadline = deadline
        self._say = say
        self._online = online

    def file(self, reference: Reference, name: str) -> Path:
        """One file of a repository, downloaded unless the cache has its newest version, or the hub is out of reach."""
        os.environ.setdefault("HF_HUB_DISABLE_XET", "1")  # plain HTTP, whose reads have time limits
        import httpx
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HFValidationError

        try:
            path = hf_hub_download(
                reference.repo,
                name,
                subfolder=reference.folder or None,
                revision=reference.revision,
                token=self._token or False,
                cache_dir=self._folder,
                endpoint=os.environ.get("HF_ENDPOINT"),
                etag_timeout=METADATA_TIMEOUT,
                local_files_only=not self._online,
                tqdm_class=self._meter(f"{reference.repo} {name}"),
            )
        except HFValidationError as error:
            raise WeightsUnavailable(
                f"{reference.repo!r} is neither a directory here nor the name of a model on the hub. "
                f"Check {self._setting}."
            ) from error
        except TimeoutError as error:
            raise WeightsUnavailable(f"{error}. Run it again: what has arrived is kept.") from error
        except (OSError, httpx.HTTPError, RuntimeError) as error:
            # RuntimeError: after a refused connection the client (1.16) tries again with a session that it has closed.
            raise self._explained(error, reference.repo, name) from error
        return Path(path)

    def optional(self, reference: Reference, name: str) -> Path | None:
        """The file, or None where the repository is known to have none of that name."""
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        try:
            return self.file(reference, name)
        except WeightsUnavailable as error:
            cause = error.__cause__
            if isinstance(cause, EntryNotFoundError) and not isinstance(cause, LocalEntryNotFoundError):
                return None
            known = try_to_load_from_cache(reference.repo, name, self._folder, reference.revision)
            if known is None:  # the cache knows neither the file nor that there is none
                raise
            return None

    def _meter(self, what: str) -> Any:
        """What the hub client takes for a progress bar: it speaks to `say`, and it ends what takes too long."""
        deadline, say = self._deadline, self._say

        class Meter:
            def __init__(self, *_: Any, total: int | None = None, initial: int = 0, **__: Any) -> None:
                self.total, self.n, self.reported = total or 0, initial, 0
                if self.total > MB:
                    say(f"downloading {what}: {self.total // MB} MB")

            def update(self, n: float | None = 1) -> None:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{what} did not arrive in time")
                self.n += int(n or 0)
                if self.n >= self.reported + REPORT_EVERY:
                    self.reported = self.n
                    say(f"downloading {what}: {self.n // MB} of {self.total // MB} MB")

            def __enter__(self) -> "Meter":
                return self

            def __exit__(self, *_: object) -> None: ...

        return Meter

    def _explained(self, error: BaseException, repo: str, name: str) -> ModelError:
        """The hub's refusal as an error that says what to do. The client hides some refusals as causes of others."""
        from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError

        chain = list(_causes(error))
        status = next((link.response.status_code for link in chain if isinstance(link, HfHubHTTPError)), None)
        if status == 401 and not self._token:  # also said of what does not exist
            return WeightsUnavailable(
                f"The hub has no {repo} for everybody. Check {self._setting}, or set HF_TOKEN to one that may read it."
            )
        if status == 401:
            return WeightsTokenRefused(
                f"The hub does not know the HF_TOKEN it was sent for {repo}. Make a new one with the right to read at "
                "https://hf.co/settings/tokens, or leave HF_TOKEN unset to use the open weights."
            )
        if any(isinstance(link, GatedRepoError) for link in chain):
            return WeightsTermsNotAccepted(
                f"Accept the terms of {repo} at https://hf.co/{repo} with the account that HF_TOKEN belongs to, "
                "or leave HF_TOKEN unset to use the open weights."
            )
        if status == 403:
            return WeightsTokenRefused(
                f"HF_TOKEN may not read {repo}: give it the right to read gated repositories at "
                "https://hf.co/settings/tokens."
            )
        if status == 404:
            file = isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError)
            what = f"{name} in {repo}" if file else repo
            return WeightsUnavailable(f"The hub has no {what}, or HF_TOKEN may not see it. Check {self._setting}.")
        return WeightsUnavailable(
            f"{name} of {repo} is not on this machine, and the hub could not be reached. Check the network, or set "
            f"{self._setting} to a local directory."
        )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
