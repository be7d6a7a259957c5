"""Uploads a file with tuspy: ENDPOINT FILE. Prints its URL."""

import sys

from tusclient.client import TusClient

endpoint, path = sys.argv[1:]
uploader = TusClient(endpoint).uploader(
    path, chunk_size=1 << 20, retries=50, retry_delay=0.02, upload_checksum=True, metadata={"filename": "größer.film"}
)
uploader.upload()
print(uploader.url)
