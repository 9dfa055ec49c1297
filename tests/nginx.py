"""nginx in front of a service: TLS, and the service below a path."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import create_server

import httpx

from tests.live import wait_until


@contextmanager
def nginx(folder: Path, upstream: int, limit: str = "8m") -> Iterator[int]:
    """nginx with TLS that shows a service below /lamegan/; its port."""
    certificate = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run(
        [*certificate, "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    with create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    (folder / "nginx.conf").write_text(
        f"""
user root; daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port} ssl; ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
    client_max_body_size {limit};
    location /lamegan/ {{
      proxy_pass http://127.0.0.1:{upstream}/;
      proxy_set_header X-Forwarded-Prefix /lamegan;
    }}
  }}
}}
"""
    )
    binary = shutil.which("nginx") or "/usr/sbin/nginx"
    running = subprocess.Popen([binary, "-p", str(folder), "-c", str(folder / "nginx.conf")], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _answers(port))
        yield port
    finally:
        running.terminate()
        running.wait(30)


def _answers(port: int) -> bool:
    try:
        httpx.get(f"https://127.0.0.1:{port}/lamegan/health/live", verify=False, trust_env=False)  # noqa: S501
    except httpx.HTTPError:
        return False
    return True
