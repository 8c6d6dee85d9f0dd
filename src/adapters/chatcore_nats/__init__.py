"""A doorbell between nodes over NATS.

async with await NatsDoorbell.open("nats://localhost") as doorbell:
    messenger = Messenger(store, doorbell=doorbell)
"""

from chatcore_nats.doorbell import NatsDoorbell

__all__ = ["NatsDoorbell"]
