"""The rules of handles: how users are addressed.

A user belongs to a realm: the empty one has the users with accounts, whose handles are their
canonical names; any other is a host's, whose handles are the host's own ids.
"""

import re
from dataclasses import dataclass

from chatcore.errors import InvalidHandle, InvalidName
from chatcore.model import KEY_SEPARATOR, is_encodable, key_of
from chatcore.names import lookup_name

MAX_REALM = 256
MAX_HANDLE = 128
MAX_SHOWN_NAME = 256

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Person:
    """A host's user, to add or to rename.

    `handle`: the host's own id, 1 to 128 visible characters: no white space, no control, format,
    surrogate, private or unassigned character. Compared byte for byte. Raises InvalidHandle, and
    TypeError for an id that is not text.
    `name`: the text to show, 1 to 256 characters without controls and lone surrogates. Need not be
    unique. Raises InvalidName, and TypeError for anything but text.
    `realm`: 1 to 256 visible characters. Raises ValueError.
    """

    realm: str
    handle: str
    name: str

    def __post_init__(self) -> None:
        if not self.realm:
            raise ValueError(
                "the empty realm has the users with accounts; for users of your own give a realm, "
                'as in Messenger(store, realm="shop")'
            )
        check_realm(self.realm)
        expect_text(self.handle, self.name)
        if not _is_visible(self.handle, MAX_HANDLE):
            raise InvalidHandle(f"a handle has 1 to {MAX_HANDLE} visible characters")
        if not 1 <= len(self.name) <= MAX_SHOWN_NAME:
            raise InvalidName(f"a name has 1 to {MAX_SHOWN_NAME} characters")
        if not is_plain(self.name):
            raise InvalidName("a name has no control character and no lone surrogate")

    @property
    def key(self) -> str:
        """The key of the user (`key_of`)."""
        return key_of(self.realm, self.handle)


def expect_text(handle: object, name: object) -> None:
    """Raise TypeError unless both are text."""
    if not isinstance(handle, str):
        raise TypeError(f"a handle is text, not {type(handle).__name__}: str({handle!r:.40})")
    if not isinstance(name, str):
        raise TypeError(f"a name is text, not {type(name).__name__}")


def is_plain(text: str) -> bool:
    """Whether the text has no control character and no lone surrogate."""
    return is_encodable(text) and not _CONTROL.search(text)


def check_realm(realm: str) -> None:
    """Raise ValueError unless the realm is empty or has 1 to 256 visible characters."""
    if realm and not _is_visible(realm, MAX_REALM):
        raise ValueError(f"a realm has at most {MAX_REALM} visible characters")


def lookup_key(realm: str, handle: str) -> str | None:
    """Return the key to look up, or None for a handle that no user of the realm can have. In the
    empty realm the handle is a name in any spelling."""
    if not realm:
        canonical = lookup_name(handle)
        # A separator would lead into another realm.
        return None if canonical is None or KEY_SEPARATOR in canonical else canonical or None
    # Deliberately laxer than `Person`: the handle of an erased user has spaces.
    if not 1 <= len(handle) <= MAX_HANDLE or not handle.isprintable():
        return None
    return key_of(realm, handle)


def _is_visible(text: str, limit: int) -> bool:
    # A character is printable unless Unicode counts it among others (C) or separators (Z); of
    # these, Python counts the space as printable.
    return 1 <= len(text) <= limit and text.isprintable() and " " not in text
