"""A store of people and conversations alone, such as an adapter without accounts."""

from typing import Any

from chatcore_memory import MemoryStore


class PeopleStore(MemoryStore):
    """MemoryStore without the methods of a CredentialStore: by None, a class says that it does not
    implement a method (PEP 544)."""

    add_user: Any = None
    credentials: Any = None
    credentials_by_id: Any = None
    replace_password_hash: Any = None
    void_tokens: Any = None
