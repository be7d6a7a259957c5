// What the browser remembers across visits: a record of each upload, and its file until it is uploaded.

const MEMORY = `uploads to ${ENDPOINT.pathname}`;
const REMEMBERED = ["id", "url", "name", "path", "type", "size", "lastModified", "offset", "state", "message", "final"];
let database;

// Browsers copy a stored File, which may take long: the files have a store of their own,
// so that no record ever waits for them.
function openDatabase() {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open(MEMORY, 1);
    opening.onupgradeneeded = () => ["records", "files"].forEach((name) => opening.result.createObjectStore(name));
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
  });
}

// Browsers close the database of a page that is in the background, or when the user deletes what sites have stored.
async function begin(name, mode) {
  const tryTo = async () => (await (database ??= openDatabase())).transaction(name, mode);
  return tryTo().catch(() => {
    database = undefined;
    return tryTo();
  });
}

async function inStore(name, mode, work) {
  const transaction = await begin(name, mode);
  return new Promise((resolve, reject) => {
    const asked = work(transaction.objectStore(name));
    transaction.oncomplete = () => resolve(asked.result);
    transaction.onabort = () => reject(transaction.error);
  });
}

const read = (name, work) => inStore(name, "readonly", work);
const write = (name, work) => inStore(name, "readwrite", work).catch(() => {});

const storedUploads = () => read("records", (store) => store.getAll());
const storedUpload = (id) => read("records", (store) => store.get(id));
const storedFile = (id) => read("files", (store) => store.get(id)).then((file) => file ?? null, () => null);

const recordOf = (upload) => Object.fromEntries(REMEMBERED.map((field) => [field, upload[field]]));

async function remember(upload) {
  await save(upload);
  if (!upload.settled && !upload.final) await write("files", (store) => store.put(upload.file, upload.id));
}

async function save(upload) {
  if (!upload.settled) await write("records", (store) => store.put(recordOf(upload), upload.id));
}

const forgetFile = ({ id }) => write("files", (store) => store.delete(id));

async function forget(upload) {
  forgetFile(upload);
  await write("records", (store) => store.delete(upload.id));
}

// A visit may have ended between forgetting a record and forgetting its file.
async function forgetOrphanedFiles() {
  const files = await read("files", (store) => store.getAllKeys());
  const known = await read("records", (store) => store.getAllKeys());
  files.filter((id) => !known.includes(id)).forEach((id) => forgetFile({ id }));
}
