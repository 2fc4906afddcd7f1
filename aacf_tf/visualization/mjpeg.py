"""Serves pictures to a browser of this machine as they come: motion JPEG."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np

from tfrecords.utils.errors import UsageError

_HOST = "127.0.0.1"
_NAMES = (_HOST, "localhost")  # by which a browser may ask
_BOUNDARY = "frame"


class Server:
    """A server of the latest picture at `http://localhost:PORT/`, for this machine only.

    Args:
        port: Port; 0: any that is free.

    Attributes:
        address: The page to open.

    Raises:
        UsageError: The port cannot be had.
    """

    def __init__(self, port: int):
        self.changed = threading.Condition()
        self.picture, self.number, self.closed = b"", 0, False
        handler = type("Handler", (_Handler,), {"owner": self})
        try:
            self._server = ThreadingHTTPServer((_HOST, port), handler)
        except (OSError, OverflowError) as error:
            raise UsageError(
                f"--serve: expected a free port, received {port} ({error})."
            ) from error
        self._server.daemon_threads = True
        self.address = f"http://localhost:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def write(self, image: np.ndarray) -> None:
        """Shows a picture, uint8 RGB `[H, W, 3]`."""
        encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
        with self.changed:
            self.picture, self.number = encoded.tobytes(), self.number + 1
            self.changed.notify_all()

    def close(self) -> None:
        """Ends the server."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    owner: Server

    def do_GET(self) -> None:
        """Sends picture after picture."""
        # A page from elsewhere whose name was made to point here would read the camera.
        if self.headers.get("Host", "").rsplit(":", 1)[0] not in _NAMES:
            self.send_error(403)
            return
        self.send_response(200)
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
        self.end_headers()
        seen = 0
        while True:
            with self.owner.changed:
                while not self.owner.closed and self.owner.number == seen:
                    self.owner.changed.wait()
                picture, seen = self.owner.picture, self.owner.number
            if self.owner.closed:
                return
            head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}"
            try:
                self.wfile.write(f"{head}\r\n\r\n".encode() + picture + b"\r\n")
            except OSError:  # the browser has left
                return

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing about requests."""
