"""chatcore for synchronous programs: Django, Flask, scripts.

A `Bridge` runs one event loop in a thread. `Bridge.messenger` and `Bridge.accounts` make objects
with the methods and errors of `chatcore.Messenger` and `chatcore.Accounts`, which block until the
call on that loop has ended.
"""

from chatcore.blocking.accounts import Accounts, Devices
from chatcore.blocking.bridge import Bridge, per_process
from chatcore.blocking.messenger import Following, Messenger

__all__ = ["Accounts", "Bridge", "Devices", "Following", "Messenger", "per_process"]
