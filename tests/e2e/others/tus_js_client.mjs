// Uploads a file with tus-js-client: ENDPOINT FILE PARTS. Prints its URL.
import { createReadStream } from "node:fs";
import { Upload } from "tus-js-client";

const [endpoint, path, parts] = process.argv.slice(1);
const upload = new Upload(createReadStream(path), {
  endpoint,
  parallelUploads: Number(parts),
  retryDelays: Array(50).fill(20),
  metadata: { filename: "größer.film" },
  onError: (error) => {
    console.error(String(error));
    process.exit(1);
  },
  onSuccess: () => console.log(upload.url),
});
upload.start();
