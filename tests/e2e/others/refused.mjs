// Uploads a file with tus-js-client, and prints the method and the status of each response, and then `done URL` or
// `stopped`: ENDPOINT FILE OPTIONS (JSON).
import { createReadStream } from "node:fs";
import { Upload } from "tus-js-client";

const [endpoint, path, options] = process.argv.slice(1);
const upload = new Upload(createReadStream(path), {
  endpoint,
  retryDelays: Array(1000).fill(5),
  ...JSON.parse(options),
  onAfterResponse: (request, response) => console.log(`${request.getMethod()} ${response.getStatus()}`),
  onError: () => console.log("stopped"),
  onSuccess: () => console.log(`done ${upload.url}`),
});
upload.start();
