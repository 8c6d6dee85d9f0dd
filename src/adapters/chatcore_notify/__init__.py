"""A doorbell between nodes, by way of the PostgreSQL database that they share anyway.

async with await NotifyDoorbell.open("postgresql://localhost/chatcore") as doorbell:
    messenger = Messenger(store, doorbell=doorbell)
"""

from chatcore_notify.doorbell import NotifyDoorbell

__all__ = ["NotifyDoorbell"]
