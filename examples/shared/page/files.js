// Files come in: dropped or chosen, alone or in folders. Each with its path, which is its name if it is in no folder.

const hasFiles = (event) => event.dataTransfer.types.includes("Files");

const byName = new Intl.Collator(undefined, { numeric: true }).compare;

function chosenFiles(input) {
  const files = [...input.files].map((file) => ({ file, path: file.webkitRelativePath || file.name }));
  return input.webkitdirectory ? files.sort((a, b) => byName(a.path, b.path)) : files;
}

// To be called while the event is handled: later, the browser has forgotten what was dropped.
function droppedFiles({ items }) {
  const files = [...items].filter((item) => item.kind === "file");
  const dropped = files.map((item) => ({ entry: item.webkitGetAsEntry?.(), file: item.getAsFile() }));
  return readEntries(dropped);
}

async function readEntries(dropped) {
  const found = { files: [], unreadable: [], empty: [] };
  for (const { entry, file } of dropped) {
    if (entry?.isDirectory) await readFolder(entry, found);
    else if (file) found.files.push({ file, path: file.name });
  }
  return found;
}

async function readFolder(folder, found) {
  const path = folder.fullPath.slice(1);
  try {
    const entries = await entriesOf(folder.createReader());
    if (!entries.length) found.empty.push(path);
    for (const entry of entries) {
      if (entry.isDirectory) await readFolder(entry, found);
      else await readFile(entry, found);
    }
  } catch {
    found.unreadable.push(path);
  }
}

// A reader gives some entries at a time, and none at the end.
async function entriesOf(reader) {
  const entries = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return entries.sort((a, b) => byName(a.name, b.name));
    entries.push(...some);
  }
}

async function readFile(entry, found) {
  const path = entry.fullPath.slice(1);
  await new Promise((resolve, reject) => entry.file(resolve, reject)).then(
    (file) => found.files.push({ file, path }),
    () => found.unreadable.push(path),
  );
}
