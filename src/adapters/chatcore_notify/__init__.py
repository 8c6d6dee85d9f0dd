"""A doorbell between nodes over the PostgreSQL database that they share.

async with await NotifyDoorbell.open("postgresql://localhost/chatcore") as doorbell:
    messenger = Messenger(store, doorbell=doorbell)
"""

from chatcore_notify.doorbell import NotifyDoorbell

__all__ = ["NotifyDoorbell"]
