"""The store of finished work, in a folder or at a URI: see store.py for its layout and its promise."""

from adaprob_ray.store.attempt import HEARTBEAT_SECONDS, STALE_SECONDS, Attempt, CellLog, LeaseWatcher
from adaprob_ray.store.store import Commit, Store

__all__ = ["HEARTBEAT_SECONDS", "STALE_SECONDS", "Attempt", "CellLog", "Commit", "LeaseWatcher", "Store"]
