// Uploads a file with tus-js-client, and prints the method and the status of each response, and then `done URL` or
// `stopped`: ENDPOINT FILE OPTIONS (JSON). The option `patch` has headers that replace those of each PATCH.
import { createReadStream } from "node:fs";
import { Upload } from "tus-js-client";

const [endpoint, path, json] = process.argv.slice(1);
const { patch = {}, ...options } = JSON.parse(json);
const upload = new Upload(createReadStream(path), {
  endpoint,
  retryDelays: Array(1000).fill(5),
  ...options,
  onBeforeRequest: (request) => {
    if (request.getMethod() === "PATCH") {
      Object.entries(patch).forEach(([name, value]) => request.setHeader(name, value));
    }
  },
  onAfterResponse: (request, response) => console.log(`${request.getMethod()} ${response.getStatus()}`),
  onError: () => console.log("stopped"),
  onSuccess: () => console.log(`done ${upload.url}`),
});
upload.start();
