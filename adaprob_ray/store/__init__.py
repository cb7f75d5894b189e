"""The store of finished work, in a folder or at a URI: see store.py for its layout and its guarantees."""

from adaprob_ray.store.attempt import Attempt
from adaprob_ray.store.heartbeat import HEARTBEAT_SECONDS
from adaprob_ray.store.holder import Holder
from adaprob_ray.store.lease_watcher import STALE_SECONDS, LeaseWatcher
from adaprob_ray.store.log import CellLog, Commit
from adaprob_ray.store.store import Store

__all__ = ["HEARTBEAT_SECONDS", "STALE_SECONDS", "Attempt", "CellLog", "Commit", "Holder", "LeaseWatcher", "Store"]
