// Uploads a file with tus-js-client in a version of the IETF's draft: ENDPOINT FILE PROTOCOL. Before that, an empty file,
// and one that is deleted. Prints the URLs of the empty file and of the file.
import { createReadStream } from "node:fs";
import { Upload } from "tus-js-client";

const [endpoint, path, protocol] = process.argv.slice(1);
const fail = (error) => {
  console.error(String(error));
  process.exit(1);
};
const options = { endpoint, protocol, retryDelays: Array(50).fill(20), metadata: { filename: "größer.film" }, onError: fail };

const send = (content, more) =>
  new Promise((resolve) => {
    const upload = new Upload(content, { ...options, ...more, onSuccess: () => resolve(upload.url) });
    upload.start();
  });

const deleted = await send(Buffer.from("hello"), { uploadDataDuringCreation: true });
await Upload.terminate(deleted, { ...options });
const empty = await send(Buffer.alloc(0));
const film = await send(createReadStream(path), { chunkSize: 1 << 20 });
// One that another process began is found by its offset.
await send(createReadStream(path), { uploadUrl: film });
console.log(empty);
console.log(film);
