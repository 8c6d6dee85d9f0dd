"""A doorbell between nodes over Valkey or Redis.

async with await ValkeyDoorbell.open("valkey://localhost") as doorbell:
    messenger = Messenger(store, doorbell=doorbell)
"""

from chatcore_valkey.doorbell import ValkeyDoorbell

__all__ = ["ValkeyDoorbell"]
