"""Messages between the judge and the fork server, both ways: length of a JSON text, length of a blob, the two."""

import os
import struct

from .text import from_text, to_text

FRAME = struct.Struct("<II")


class Gone(Exception):
    """The judge has closed its end."""


def receive(handle, size):
    if not size:
        return b""
    parts = []
    while size:
        part = os.read(handle, min(size, 1 << 20))
        if not part:
            raise Gone
        parts.append(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def receive_message(handle):
    header, blob = FRAME.unpack(receive(handle, FRAME.size))
    message = from_text(receive(handle, header).decode())
    return message, receive(handle, blob)


def send_events(handle, events):
    """Reports, each a JSON object and the bytes that belong to it, in one message."""
    text = to_text([[data, len(blob)] for data, blob in events]).encode()
    blobs = b"".join([blob for _, blob in events])
    view = memoryview(FRAME.pack(len(text), len(blobs)) + text + blobs)
    try:
        while view:
            view = view[os.write(handle, view) :]
    except OSError:
        raise Gone from None
