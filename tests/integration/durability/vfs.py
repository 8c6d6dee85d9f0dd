"""A layer between this process's SQLite and its files.

SQLite reaches the disk through tables of C functions, its VFS
(https://sqlite.org/c3ref/vfs.html). ctypes puts a table of ours in front of it, which can
record, delay or fail the operations of any database of this process. The store and its driver
need no code for it.
"""

import _sqlite3
import contextlib
import ctypes
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from ctypes import CFUNCTYPE, Structure, c_char_p, c_int, c_int64, c_void_p, pointer
from typing import Any, NamedTuple

ERRORS = {
    "open": sqlite3.SQLITE_CANTOPEN,
    "read": sqlite3.SQLITE_IOERR_READ,
    "write": sqlite3.SQLITE_IOERR_WRITE,
    "truncate": sqlite3.SQLITE_IOERR_TRUNCATE,
    "sync": sqlite3.SQLITE_IOERR_FSYNC,
    "delete": sqlite3.SQLITE_IOERR_DELETE,
    "map": sqlite3.SQLITE_IOERR_SHMMAP,
}
"""The operations that can fail, and SQLite's code for each failure."""


class Operation(NamedTuple):
    kind: str
    """A key of ERRORS, or "sync folder": reported once the folder of `path` has been synced."""
    path: str
    offset: int = 0
    """Of a truncation, the new size."""
    data: bytes = b""
    """The bytes written."""


Layer = Callable[[Operation, Callable[[], int]], int]
"""Takes an operation and a function that performs it; returns SQLite's result code, 0 for success.
Called on any thread that SQLite uses."""


class Unsupported(Exception):
    """SQLite's C functions cannot be reached from this Python."""


_Close = CFUNCTYPE(c_int, c_void_p)
_Transfer = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
_Truncate = CFUNCTYPE(c_int, c_void_p, c_int64)
_Sync = CFUNCTYPE(c_int, c_void_p, c_int)
_Map = CFUNCTYPE(c_int, c_void_p, c_int, c_int, c_int, c_void_p)
# The name as a bare pointer: SQLite keeps it, and a copy would be freed too soon.
_Open = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, c_void_p)
_Delete = CFUNCTYPE(c_int, c_void_p, c_char_p, c_int)
_OpenFolder = CFUNCTYPE(c_int, c_char_p, c_void_p)
_SetSystemCall = CFUNCTYPE(c_int, c_void_p, c_char_p, c_void_p)
_GetSystemCall = CFUNCTYPE(c_void_p, c_void_p, c_char_p)


class _Methods(Structure):
    """sqlite3_io_methods; the members without a name are passed through."""

    _fields_ = (
        ("version", c_int),
        *((name, c_void_p) for name in ("close", "read", "write", "truncate", "sync")),
        *((f"_{n}", c_void_p) for n in range(7)),
        ("map", c_void_p),
        *((f"_{n}", c_void_p) for n in range(7, 12)),
    )


class _Vfs(Structure):
    """sqlite3_vfs."""

    _fields_ = (
        ("version", c_int),
        ("file_size", c_int),
        ("path_size", c_int),
        ("next", c_void_p),
        ("name", c_char_p),
        ("data", c_void_p),
        ("open", c_void_p),
        ("delete", c_void_p),
        *((f"_{n}", c_void_p) for n in range(11)),
        ("set_system_call", c_void_p),
        ("get_system_call", c_void_p),
        ("next_system_call", c_void_p),
    )


_installed: list["_Layered"] = []
"""Never freed: connections keep pointers into the tables they were opened with."""


@contextlib.contextmanager
def layered(layer: Layer) -> Iterator[None]:
    """Put the layer under every database opened inside the context, until that database closes.
    Raises Unsupported."""
    # Already loaded: this finds the module again, and through it the SQLite that it is linked to.
    library = ctypes.CDLL(getattr(_sqlite3, "__file__", None))
    try:
        library.sqlite3_vfs_find.restype = c_void_p
        default = _Vfs.from_address(library.sqlite3_vfs_find(None))
        register, unregister = library.sqlite3_vfs_register, library.sqlite3_vfs_unregister
    except AttributeError:
        raise Unsupported("this Python hides the C functions of its SQLite") from None
    if default.version < 3 or not default.set_system_call:
        raise Unsupported("this SQLite's default VFS is not the one for Unix")
    ours = _Layered(default, layer)
    _installed.append(ours)
    register(pointer(ours.vfs), 1)
    try:
        with ours.folder_syncs_seen():
            yield
    finally:
        unregister(pointer(ours.vfs))
        register(pointer(default), 1)
    if ours.error is not None:
        raise ours.error


class _Layered:
    def __init__(self, default: _Vfs, layer: Layer) -> None:
        self.error: BaseException | None = None
        self._default = pointer(default)
        self._layer = layer
        self._paths: dict[int, str] = {}
        self._methods: dict[int, _Methods] = {}
        self._folder_opened = threading.local()
        self._callbacks: list[Any] = []
        self.vfs = _Vfs.from_buffer_copy(default)
        self.vfs.name = b"layered"
        self._wrap(self.vfs, "open", _Open, self._open)
        self._wrap(self.vfs, "delete", _Delete, self._delete)

    @contextlib.contextmanager
    def folder_syncs_seen(self) -> Iterator[None]:
        """Inside the context, note each sync of a folder. A file's entry is durable once its folder
        is synced, which SQLite does inside the sync or deletion of a file."""
        vfs = self._default.contents
        replace = _SetSystemCall(vfs.set_system_call)
        original = _OpenFolder(_GetSystemCall(vfs.get_system_call)(self._default, b"openDirectory"))

        def open_folder(path: bytes, descriptor: int) -> int:
            self._folder_opened.yes = True
            return int(original(path, descriptor))

        ours = _OpenFolder(open_folder)
        self._callbacks.append(ours)
        replace(self._default, b"openDirectory", ctypes.cast(ours, c_void_p))
        try:
            yield
        finally:
            replace(self._default, b"openDirectory", None)

    def _wrap(self, table: Structure, name: str, prototype: Any, ours: Callable[..., int]) -> None:
        original = prototype(getattr(table, name))

        def call(*arguments: Any) -> int:
            try:
                return ours(original, *arguments)
            except BaseException as error:
                self.error = error
                return sqlite3.SQLITE_INTERNAL

        callback = prototype(call)
        self._callbacks.append(callback)
        setattr(table, name, ctypes.cast(callback, c_void_p).value)

    def _open(
        self, original: Any, _: int, name: int | None, file: int, flags: int, out: int
    ) -> int:
        path = os.fsdecode(ctypes.string_at(name)) if name else ""
        code = self._layer(
            Operation("open", path), lambda: original(self._default, name, file, flags, out)
        )
        methods = c_void_p.from_address(file)
        if code:
            methods.value = None
            return code
        self._paths[file] = path
        methods.value = ctypes.addressof(self._methods_over(methods.value or 0))
        return code

    def _methods_over(self, address: int) -> _Methods:
        if address not in self._methods:
            # SQLite's own table may be older and shorter: then the copy is shorter too, and its
            # version field tells SQLite so.
            methods = self._methods[address] = _Methods.from_address(address)
            methods = self._methods[address] = _Methods.from_buffer_copy(methods)
            self._wrap(methods, "close", _Close, self._close)
            self._wrap(methods, "read", _Transfer, self._read)
            self._wrap(methods, "write", _Transfer, self._write)
            self._wrap(methods, "truncate", _Truncate, self._truncate)
            self._wrap(methods, "sync", _Sync, self._sync)
            if methods.map:
                self._wrap(methods, "map", _Map, self._map)
        return self._methods[address]

    def _close(self, original: Any, file: int) -> int:
        del self._paths[file]
        return int(original(file))

    def _read(self, original: Any, file: int, data: int, size: int, offset: int) -> int:
        operation = Operation("read", self._paths[file], offset)
        return self._layer(operation, lambda: original(file, data, size, offset))

    def _write(self, original: Any, file: int, data: int, size: int, offset: int) -> int:
        operation = Operation("write", self._paths[file], offset, ctypes.string_at(data, size))
        return self._layer(operation, lambda: original(file, data, size, offset))

    def _truncate(self, original: Any, file: int, size: int) -> int:
        return self._layer(
            Operation("truncate", self._paths[file], size), lambda: original(file, size)
        )

    def _sync(self, original: Any, file: int, flags: int) -> int:
        path = self._paths[file]
        return self._with_folder(Operation("sync", path), lambda: original(file, flags))

    def _delete(self, original: Any, _: int, name: bytes, sync_folder: int) -> int:
        return self._with_folder(
            Operation("delete", os.fsdecode(name)),
            lambda: original(self._default, name, sync_folder),
        )

    def _map(self, original: Any, file: int, *arguments: int) -> int:
        return self._layer(Operation("map", self._paths[file]), lambda: original(file, *arguments))

    def _with_folder(self, operation: Operation, proceed: Callable[[], int]) -> int:
        self._folder_opened.yes = False
        code = self._layer(operation, proceed)
        if not code and self._folder_opened.yes:
            self._layer(Operation("sync folder", operation.path), lambda: 0)
        return code
