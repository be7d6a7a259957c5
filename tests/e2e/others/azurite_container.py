"""Creates a container in Azurite: PORT CONTAINER. With the account and the key that every Azurite has."""

import base64
import hashlib
import hmac
import sys
import urllib.request
from email.utils import formatdate

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

port, container = sys.argv[1:]
headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
signed = "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()))
# The account is in the path of an emulator, and in the signature as well.
text = "PUT" + "\n" * 12 + signed + f"/{ACCOUNT}/{ACCOUNT}/{container}\nrestype:container"
signature = base64.b64encode(hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()).decode()
url = f"http://127.0.0.1:{port}/{ACCOUNT}/{container}?restype=container"
headers |= {"Authorization": f"SharedKey {ACCOUNT}:{signature}", "Content-Length": "0"}
urllib.request.urlopen(urllib.request.Request(url, method="PUT", headers=headers)).read()
