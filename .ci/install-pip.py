"""Installs pip from PyPI into the virtual environment whose interpreter runs this script."""

import hashlib
import json
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from urllib.parse import urljoin


def read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.read()


INDEX = "https://pypi.org/pypi/pip/json"
files = json.loads(read(INDEX))["urls"]
wheel = next(file for file in files if file["packagetype"] == "bdist_wheel")
# A mirror may name the file relative to the index.
content = read(urljoin(INDEX, wheel["url"]))
if hashlib.sha256(content).hexdigest() != wheel["digests"]["sha256"]:
    sys.exit(f"{wheel['url']}: the download is damaged")
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, wheel["filename"])
    path.write_bytes(content)
    # A wheel is a zip file, from which pip can run.
    subprocess.run([sys.executable, path / "pip", "install", "--quiet", path], check=True)
