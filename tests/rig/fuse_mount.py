"""A real mounted file system, served from memory by a thread of the test, that stops answering on command.

The kernel's interface: https://docs.kernel.org/filesystems/fuse/fuse.html and include/uapi/linux/fuse.h. Requests that
were not read from /dev/fuse can be killed with their process, like those of a hard NFS mount.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import stat
import struct
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import pytest

_LOOKUP, _FORGET, _GETATTR, _OPEN, _READ, _RELEASE, _FLUSH, _INIT = 1, 2, 3, 14, 15, 18, 25, 26
_OPENDIR, _READDIR, _RELEASEDIR, _INTERRUPT, _BATCH_FORGET = 27, 28, 29, 36, 42
_UNANSWERED = (_FORGET, _INTERRUPT, _BATCH_FORGET)
_REQUEST = struct.Struct("<IIQQIIII")
_ANSWER = struct.Struct("<IiQ")
_ATTRIBUTES = struct.Struct("<6Q10I")
_INIT_OUT = struct.Struct("<IIIIHHIIHHI7I")
_RANGE = struct.Struct("<QQI")
_ROOT = 1
_DIRECT_IO = 1
_BUFFER_BYTES = 2**18
_DETACH = 2


def can_mount() -> bool:
    return sys.platform == "linux" and os.geteuid() == 0 and os.access("/dev/fuse", os.R_OK | os.W_OK)


needs_fuse = pytest.mark.skipif(not can_mount(), reason="needs root and /dev/fuse")


class FuseMount:
    """A folder of files that cannot be written. Use it as a context; the folder must exist."""

    def __init__(self, folder: Path, files: Mapping[str, bytes]) -> None:
        self.folder = folder
        self._names = sorted(files)
        self._contents = [files[name] for name in self._names]
        self._answers = threading.Event()
        self._answers.set()
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._device = -1
        self._server = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self._device},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"
        if self._libc.mount(b"test", os.fsencode(self.folder), b"fuse", 0, options.encode()) != 0:
            os.close(self._device)
            pytest.skip(f"mount: {os.strerror(ctypes.get_errno())}")
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._libc.umount2(os.fsencode(self.folder), _DETACH)
        self._answers.set()  # whatever hangs ends, and with its last user the file system
        self._server.join(10)
        os.close(self._device)

    def hang(self) -> None:
        """From now on, no call comes back."""
        self._answers.clear()

    def answer(self) -> None:
        """Answers again, also what was asked meanwhile."""
        self._answers.set()

    def _serve(self) -> None:
        while True:
            self._answers.wait()
            readable, _, _ = select.select([self._device], [], [], 0.05)
            if not readable or not self._answers.is_set():  # `hang` may have come while this waited for a request
                continue
            try:
                request = os.read(self._device, _BUFFER_BYTES)
            except OSError as error:
                if error.errno == errno.ENODEV:  # unmounted
                    return
                continue
            _, opcode, unique, node, *_rest = _REQUEST.unpack_from(request)
            if opcode in _UNANSWERED:
                continue
            answer = self._answer(opcode, node, request[_REQUEST.size :])
            error_number, body = (-answer, b"") if isinstance(answer, int) else (0, answer)
            try:
                os.write(self._device, _ANSWER.pack(_ANSWER.size + len(body), error_number, unique) + body)
            except OSError:  # the caller was killed
                continue

    def _answer(self, opcode: int, node: int, body: bytes) -> bytes | int:
        """The body of the answer, or an errno."""
        if opcode == _INIT:
            return _INIT_OUT.pack(7, 31, 2**17, 0, 12, 9, 2**17, 1, 32, 0, 0, *[0] * 7)
        if opcode == _LOOKUP:
            name = os.fsdecode(body.rstrip(b"\0"))
            if name not in self._names:
                return errno.ENOENT
            found = self._names.index(name) + _ROOT + 1
            return struct.pack("<4Q2I", found, 0, 0, 0, 0, 0) + self._attributes(found)
        if opcode == _GETATTR:
            return struct.pack("<Q2I", 0, 0, 0) + self._attributes(node)
        if opcode in (_OPEN, _OPENDIR):
            return struct.pack("<Q2I", 0, _DIRECT_IO if opcode == _OPEN else 0, 0)
        if opcode == _READ:
            _, offset, size = _RANGE.unpack_from(body)
            return self._contents[node - _ROOT - 1][offset : offset + size]
        if opcode == _READDIR:
            _, offset, size = _RANGE.unpack_from(body)
            return self._entries(offset, size)
        return b"" if opcode in (_RELEASE, _RELEASEDIR, _FLUSH) else errno.ENOSYS

    def _attributes(self, node: int) -> bytes:
        folder = node == _ROOT
        size = 0 if folder else len(self._contents[node - _ROOT - 1])
        mode = stat.S_IFDIR | 0o755 if folder else stat.S_IFREG | 0o644
        times = (1_700_000_000,) * 3
        return _ATTRIBUTES.pack(node, size, -(-size // 512), *times, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

    def _entries(self, offset: int, size: int) -> bytes:
        entries = b""
        for position, name in enumerate(self._names[offset:], start=offset):
            raw = os.fsencode(name)
            entry = struct.pack("<QQII", position + _ROOT + 1, position + 1, len(raw), stat.S_IFREG >> 12) + raw
            entry += b"\0" * (-len(entry) % 8)
            if len(entries) + len(entry) > size:
                break
            entries += entry
        return entries
