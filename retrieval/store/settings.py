"""Settings of the store."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from retrieval.store.store import Store

OFF = "none"
FILE = "store.sqlite"


class StoreSettings(BaseModel):
    """Where events, items and users are kept that arrive while the service runs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str | None = None
    """``sqlite:///file`` or ``postgresql://user@host/name``; None for a file in the artifact's folder, "none" for no
    store.
    """
    busy_s: float = Field(default=5.0, gt=0, le=60)
    """How long a transaction waits for another one."""
    retention_days: int | None = Field(default=None, ge=1, le=36_500)
    """How many days events and stored answers are kept; None for ever."""

    def open(self, artifact: Path) -> Store | None:
        """Return the store of an artifact; None if there is to be none.

        Raises:
            InputError: If the URL cannot be used.
        """
        if self.url == OFF:
            return None
        return Store(artifact / FILE if self.url is None else self.url, busy_s=self.busy_s)
