// Serves uploads with @tus/server: DIRECTORY ADDRESS.
import { FileStore } from "@tus/file-store";
import { Server } from "@tus/server";

const [directory, address] = process.argv.slice(2);
const [host, port] = address.split(":");
new Server({ path: "/files", datastore: new FileStore({ directory }) }).listen({ host, port });
