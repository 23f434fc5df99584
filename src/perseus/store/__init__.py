"""The store: a connection whose calls are bounded in time, and the scripts run on it.

`redis` is imported here and nowhere else.
"""

from perseus.settings import redacted
from perseus.store.connection import Entry, Store
from perseus.store.scripts import Script

__all__ = ["Entry", "Script", "Store", "redacted"]
