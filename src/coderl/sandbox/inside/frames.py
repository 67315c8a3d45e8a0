"""Messages between the judge and the fork server, both ways: length of a JSON object, length of a blob, the two."""

import json
import os
import struct

FRAME = struct.Struct("<II")


class Gone(Exception):
    """The judge has closed its end."""


def receive(handle, size):
    parts = []
    while size:
        part = os.read(handle, min(size, 1 << 20))
        if not part:
            raise Gone
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def receive_message(handle):
    header, blob = FRAME.unpack(receive(handle, FRAME.size))
    message = json.loads(receive(handle, header))
    return message, receive(handle, blob)


def send_message(handle, message, blob=b""):
    text = json.dumps(message).encode()
    send_bytes(handle, FRAME.pack(len(text), len(blob)) + text + blob)


def send_bytes(handle, data):
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(handle, view) :]
    except OSError:
        raise Gone from None
