// The uploads: how they come in, what the buttons do, the queue, and the life of each.

const AT_ONCE = 3;
const UNFINISHED_AT_MOST = 30; // that send or wait to try again: a server that is away is not asked about all at once
const GIVES_WAY_AFTER_MS = 15_000; // to others, if it fails all the time
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;
const DISK_FULL_WAIT_MS = 60_000;
const LONGEST_DELETION_WAIT_MS = 300_000;
const FINISHED_ROWS_KEPT = 100;
const DOWNLOAD_WAITS_MS = [0, 500, 2000, 8000, 30_000];

const uploads = [];
const find = (id) => uploads.find((upload) => upload.id === id);
const hiddenElsewhere = new Set();
const toDelete = [];
let turns = 0;
let asked = null;
let sought = null;
let areDownloadsOff = false;
let lookingUp = Promise.resolve();

function start() {
  for (const [button, input] of [["choose-files", "choose"], ["choose-folder", "choose-in-folder"]]) {
    $(button).addEventListener("click", () => choose($(input)));
    $(input).addEventListener("change", () => takeChosen($(input)));
  }
  $("choose-folder").hidden = !("webkitdirectory" in $("choose-in-folder"));
  $("drop").hidden = false; // it is of no use without this script
  $("drop").addEventListener("click", ({ target }) => target.closest("button, input") || choose($("choose")));
  $("clear").addEventListener("click", () => uploads.filter((u) => u.state === "done").forEach(actions.hide));
  $("ask").addEventListener("close", answered);
  addEventListener("dragover", showDragging);
  addEventListener("dragleave", (event) => event.relatedTarget || document.body.classList.remove("dragging"));
  addEventListener("drop", takeDropped);
  addEventListener("pagehide", () => sayLeaving(uploads));
  addEventListener("pageshow", () => (isLeaving = false)); // the user came back
  tabs.onmessage = ({ data }) => hear(data);
  setInterval(() => {
    uploads.filter(isActive).forEach(show);
    showTotal(uploads);
  }, 1000);
  restore().catch(() => {}); // without a database the page still uploads, it only forgets
}

// ---- Files come in: dropped, chosen, or kept from an earlier visit

function showDragging(event) {
  if (!hasFiles(event)) return;
  event.preventDefault();
  document.body.classList.add("dragging");
}

async function takeDropped(event) {
  if (!hasFiles(event)) return;
  event.preventDefault();
  document.body.classList.remove("dragging");
  const { files, unreadable, empty } = await droppedFiles(event.dataTransfer);
  const notices = [unreadable.length && `Could not read ${listed(unreadable)}.`, empty.length && `There are no files in ${listed(empty)}.`];
  showNotice([...notices, ...add(files)].filter(Boolean).join(" "));
}

// `upload`: the one that lacks the file that is going to be chosen.
function choose(input, upload = null) {
  sought = upload;
  input.click();
}

function takeChosen(input) {
  const files = chosenFiles(input);
  const found = sought && files.find(({ file }) => isSameFile(sought, file));
  const isOther = sought && !found;
  const notices = isOther ? [`This cannot resume ${readable(sought.path)}: it is another file, or has changed.`] : [];
  // Another tab may have found it meanwhile.
  if (found && sought.state === "missing") act(sought, "find", found.file);
  notices.push(...add(files.filter((one) => one !== found)));
  showNotice(notices.join(" "));
  sought = null;
  input.value = ""; // so that the same file can be chosen again
}

// Files in other folders may have the same name, and even the same size and time. So the path counts too, unless the
// user chooses a file for one upload: a file that is chosen by itself has no path.
// Returns what to say about files that only seem to be missing ones.
function add(files) {
  const notices = [];
  for (const { file, path } of files) {
    const similar = uploads.filter((u) => u.state === "missing" && isSameFile(u, file));
    const missing = similar.find((u) => u.path === path);
    if (missing) act(missing, "find", file);
    else addNew(file, path);
    if (!missing && similar.length) notices.push(mayBe(path, similar[0]));
  }
  return notices.slice(0, 1);
}

const mayBe = (path, missing) =>
  `${readable(path)} will be uploaded as a new file. If it is ${readable(missing.path)}, cancel it and use “Choose file” there.`;

const isSameFile = (a, b) => a.name === b.name && a.size === b.size && a.lastModified === b.lastModified;

async function addNew(file, path) {
  const { name, type, size, lastModified } = file;
  const upload = list({ id: newId(), name, path, type, size, lastModified, file });
  await claim(upload, true);
  setState(upload, "waiting");
  remember(upload);
  pump();
}

function list(known) {
  const fresh = { url: null, offset: 0, confirmed: 0, failures: 0, spentMs: 0, samples: [], message: "" };
  const upload = { ...fresh, path: known.name, ...known, state: "loading" };
  uploads.push(upload);
  addRow(upload, press);
  return upload;
}

// The time comes first, so that the database gives the uploads back in their order.
let counter = 0;
function newId() {
  return `${Date.now()}-${String(counter++).padStart(6, "0")}-${Math.random().toString(36).slice(2)}`;
}

async function restore() {
  const records = await storedUploads().catch(() => []); // without a database, other tabs are asked nevertheless
  const finished = records.filter(({ state }) => state === "done");
  const tooOld = finished.slice(0, -FINISHED_ROWS_KEPT);
  tooOld.forEach(forget);
  for (const record of records.filter(({ id }) => !find(id) && !tooOld.some((old) => old.id === id))) {
    const isHidden = hiddenElsewhere.has(record.id);
    if (isHidden && record.state === "done") continue;
    const upload = list(record);
    if (record.state === "done") finish(upload);
    else claim(upload, false).then(() => takeOver(upload));
    if (isHidden || record.state === "cancelled") removeRow(upload);
  }
  askOthers();
  await forgetOrphanedFiles();
}

// While another tab had this upload, it may have come to an end there.
async function takeOver(upload) {
  const said = recordOf(upload);
  if (upload.state !== "done") setState(upload, "loading"); // until its record and its file are read, nothing is done with it
  const record = await storedUpload(upload.id).catch(() => said); // without a database: what the other tab has said
  if (!record) {
    removeRow(upload);
    sayHidden(upload);
    return settle(upload);
  }
  if (record.state === "cancelled") {
    Object.assign(upload, record);
    removeRow(upload);
    forgetFile(upload);
    return upload.url ? deleteLater(upload) : settle(upload);
  }
  Object.assign(upload, record, { state: upload.state });
  if (record.state === "done") return finish(upload);
  upload.file = await storedFile(upload.id);
  if (record.state === "failed") return setState(upload, "failed", record.message);
  if (!upload.file) return setState(upload, "missing", "The browser has no copy of this file. Choose it again to resume");
  setState(upload, record.state === "paused" ? "paused" : "waiting");
  pump();
}

// ---- What the buttons do

function press(upload, button) {
  if (button === "find") choose($("choose"), upload);
  else if (button === "cancel") askToCancel(upload);
  else act(upload, button);
}

// Only the tab that owns an upload can do this. One that is done belongs to all.
function act(upload, action, file) {
  if (upload.isElsewhere && upload.state !== "done") askOwner(upload, action, file);
  else perform(upload, action, file);
}

// What is asked for twice is done once. What another tab asks for without knowing the latest state may not be possible.
function perform(upload, action, file) {
  const isPossible = action === "cancel" ? upload.state !== "done" : buttonsOf(upload).includes(action);
  if (!isPossible) return;
  upload.turn = -++turns; // what the user asks for comes first
  actions[action](upload, file);
}

const actions = {
  pause(upload) {
    upload.stopper?.abort();
    setState(upload, "paused");
    save(upload);
    pump();
  },
  resume(upload) {
    upload.stopper?.abort();
    upload.failures = 0;
    setState(upload, "waiting");
    save(upload);
    pump();
  },
  retry: (upload) => actions.resume(upload),
  find(upload, file) {
    upload.file = file;
    setState(upload, "waiting");
    remember(upload);
    pump();
  },
  hide(upload) {
    if (upload.state !== "done") return actions.cancel(upload);
    removeRow(upload);
    sayHidden(upload);
    settle(upload);
  },
  // The wish is saved first: if the page is closed now, the next visit deletes the upload on the server.
  async cancel(upload) {
    upload.stopper?.abort();
    upload.state = "cancelled";
    save(upload);
    forgetFile(upload);
    removeRow(upload);
    sayHidden(upload);
    pump();
    await upload.creating?.catch(() => {});
    if (!upload.url) settle(upload);
    else if (!(await tryToDelete(upload))) deleteLater(upload);
  },
};

function deleteLater(upload) {
  if (toDelete.push(upload) === 1) retryDeletions();
}

// Whether nothing remains to be done in this visit. What is refused is tried again by the next one.
async function tryToDelete(upload) {
  const outcome = await requestDeletion(upload.url);
  if (outcome === "gone") settle(upload);
  if (outcome === "refused") upload.release?.();
  return outcome !== "unknown";
}

// One after the other, since all have the same server, after waits that grow to minutes.
async function retryDeletions() {
  for (let failures = 0; toDelete.length; toDelete.shift()) {
    await retryTime(waitAfter(failures++, LONGEST_DELETION_WAIT_MS));
    if (await tryToDelete(toDelete[0])) failures = 0;
    else toDelete.push(toDelete[0]);
  }
}

// It came to its end: other tabs and later visits need not know it.
async function settle(upload) {
  upload.settled = true;
  await forget(upload);
  upload.release?.();
}

function removeRow(upload) {
  const place = uploads.indexOf(upload);
  if (place < 0) return;
  uploads.splice(place, 1);
  if (asked === upload) $("ask").close();
  upload.isHidden = true;
  dropRow(upload);
  showTotal(uploads);
}

// ---- Cancelling

function askToCancel(upload) {
  asked = upload;
  $("ask-name").textContent = readable(upload.path);
  $("ask-consequence").textContent = consequence(upload);
  $("ask").returnValue = "";
  $("ask").showModal();
}

// How much the server has may not be known yet in this visit.
function consequence({ url, offset }) {
  if (!url) return "Nothing of it has arrived yet.";
  return offset > 0 ? `The ${bytes(offset)} that have arrived will be deleted from the server.` : "What has arrived will be deleted from the server.";
}

// The browser has put the focus back, but the button may be gone meanwhile.
function answered() {
  const upload = asked;
  asked = null;
  if (document.activeElement === document.body) (firstButton(upload.row) ?? $("choose-files")).focus();
  if ($("ask").returnValue === "cancel" && uploads.includes(upload)) act(upload, "cancel");
}

// ---- The other tabs

function hear({ upload, hidden, left = [], wanted, by, ask, id, file }) {
  if (upload) follow(upload);
  if (hidden) hiddenElsewhere.add(hidden);
  if (hidden && find(hidden)) disappear(find(hidden));
  if (wanted && find(wanted)) hearWanted(find(wanted), by);
  left.forEach((leaver) => goOnWithout(find(leaver)));
  if (ask === "everything") sayAll(uploads);
  else if (ask && (find(id)?.isOwn || find(id)?.isWanted)) perform(find(id), ask, file);
}

// Another tab has hidden or cancelled it. Without locks, this one may be sending it nevertheless.
function disappear(upload) {
  if (upload.isOwn) {
    upload.stopper?.abort();
    upload.settled = true;
  }
  removeRow(upload);
}

function follow(record) {
  if (find(record.id)?.isOwn || hiddenElsewhere.has(record.id)) return;
  const upload = find(record.id) ?? list(record);
  const isNew = upload.state === "loading" && !upload.isClaimed;
  Object.assign(upload, record, { isElsewhere: true, isWanted: false });
  setState(upload, record.state, record.message);
  if (isNew) claim(upload, false).then(() => takeOver(upload));
}

function goOnWithout(upload) {
  if (!upload?.isElsewhere) return;
  upload.isElsewhere = false;
  upload.whenLeft?.();
}

// ---- The queue, and the life of one upload

function setState(upload, state, message = "") {
  const isNew = upload.state !== state;
  Object.assign(upload, { state, message });
  if (asked === upload && state === "done") $("ask").close();
  show(upload);
  showTotal(uploads);
  say(upload);
  if (isNew && isBad(upload)) announce(`${readable(upload.path)}: ${message}`);
}

// Of an interruption that ends several uploads, the first is enough to hear.
function isBad({ state, failures }) {
  if (state === "retrying") return failures === 1 && uploads.filter((u) => u.state === "retrying").length === 1;
  return state === "failed" || state === "missing";
}

function pump() {
  const free = Math.min(freePlaces(), UNFINISHED_AT_MOST - uploads.filter((u) => u.isOwn && isActive(u)).length);
  const waiting = uploads.filter((u) => u.isOwn && u.state === "waiting");
  waiting.sort((a, b) => (a.turn ?? 0) - (b.turn ?? 0)); // each has its turn, however often it fails
  waiting.slice(0, Math.max(free, 0)).forEach(run);
}

// One that waits to try again leaves its place to others.
const freePlaces = () => AT_ONCE - uploads.filter((u) => u.isOwn && isActive(u) && !u.retryAt).length;

async function run(upload) {
  const { signal } = (upload.stopper = new AbortController());
  upload.retryAt = null;
  upload.turn = ++turns;
  setState(upload, "uploading");
  while (isActive(upload) && !signal.aborted) {
    try {
      await transfer(upload, signal);
      finish(upload);
    } catch (error) {
      await recover(upload, error, signal);
    }
  }
  pump();
}

async function transfer(upload, signal) {
  if (upload.url) await askOffset(upload, signal);
  else await (upload.creating ??= create(upload).finally(() => (upload.creating = null)));
  signal.throwIfAborted();
  upload.sessionStart ??= upload.offset;
  setState(upload, "uploading");
  while (upload.offset < upload.size) await send(upload, signal);
}

// Never aborted, even if the upload is paused or cancelled: else nobody would know the new URL.
async function create(upload) {
  upload.url = await requestCreation(upload);
  upload.offset = upload.confirmed = 0;
  save(upload);
}

async function askOffset(upload, signal) {
  const answer = await requestOffset(upload.url, signal);
  const before = upload.confirmed;
  await confirmOffset(upload, answer, signal);
  if (upload.confirmed > before) upload.failures = 0;
}

async function send(upload, signal) {
  const from = upload.offset;
  const began = performance.now();
  upload.samples = [];
  measure(upload);
  const answer = await requestAppend(upload, signal, onSent).finally(() => (upload.spentMs += performance.now() - began));
  await confirmOffset(upload, answer, signal);
  if (upload.offset <= from) throw new Problem("The server accepted no bytes", { retry: true });

  function onSent(sent) {
    upload.offset = from + sent;
    if (performance.now() - began > 2000) upload.failures = 0; // by now it is more than a filled buffer
    measure(upload);
    show(upload);
    say(upload);
  }
}

async function confirmOffset(upload, answer, signal) {
  if (isAbsent(answer)) {
    if (!(await isGone(upload.url, answer, signal))) throw impostor();
    signal.throwIfAborted(); // meanwhile it may be another upload
    Object.assign(upload, { url: null, offset: 0, confirmed: 0 });
    save(upload);
    throw new Problem("The server no longer has the first part; starting again", { retry: true });
  }
  upload.offset = upload.confirmed = await offsetIn(answer, upload.size);
}

async function recover(upload, problem, signal) {
  const file = await readableFile(upload);
  if (signal.aborted) return;
  if (!file) return setState(upload, "missing", "The file was changed or moved. Choose it again to resume");
  upload.file = file;
  if (problem.retry) return waitToRetry(upload, problem, signal);
  upload.final = problem.final;
  setState(upload, "failed", problem.message);
  if (problem.final) giveUp(upload); // the others are tried again at the next visit
  if (problem.status !== 507) return;
  sleep(Math.max(DISK_FULL_WAIT_MS, problem.afterMs)).then(() => signal.aborted || actions.resume(upload));
}

function giveUp(upload) {
  save(upload);
  forgetFile(upload);
}

// The kept copy stands in for a file that was changed on the disk meanwhile.
async function readableFile({ id, file, confirmed }) {
  const ifReadable = (some) => some?.slice(confirmed, confirmed + 1).arrayBuffer().then(() => some, () => null);
  return (await ifReadable(file)) ?? ifReadable(await storedFile(id));
}

async function waitToRetry(upload, { message, afterMs }, signal) {
  if (!upload.failures) upload.failingSince = performance.now();
  const ms = Math.max(waitAfter(upload.failures++), afterMs);
  upload.retryAt = Date.now() + ms;
  setState(upload, "retrying", message);
  pump();
  await (afterMs ? sleep(ms, signal) : retryTime(ms, signal));
  if (signal.aborted) return;
  upload.retryAt = null;
  const isLong = performance.now() - upload.failingSince >= GIVES_WAY_AFTER_MS;
  const givesWay = isLong && uploads.some((u) => u.isOwn && u.state === "waiting");
  if (givesWay || freePlaces() < 0) return queue(upload);
  show(upload);
  say(upload);
}

function queue(upload) {
  upload.stopper.abort(); // whoever takes it from the queue begins anew
  setState(upload, "waiting");
  pump();
}

// After a time, or as soon as the browser is online again.
async function retryTime(ms, signal) {
  const over = new AbortController();
  const online = new Promise((resolve) => addEventListener("online", resolve, { signal: over.signal }));
  await Promise.race([sleep(ms, signal), online]);
  over.abort();
}

function waitAfter(failures, longest = LONGEST_WAIT_MS) {
  const jitter = 0.7 + Math.random() * 0.3;
  return Math.min(longest, FIRST_WAIT_MS * 2 ** failures) * jitter;
}

// The row stays until it is hidden, in later visits too. The file is the server's now.
async function finish(upload) {
  const isNew = upload.state === "uploading";
  upload.offset = upload.size;
  setState(upload, "done");
  if (upload.isOwn && isNew) await save(upload); // what was done before is saved, or hidden meanwhile
  upload.settled = true;
  forgetFile(upload);
  upload.release?.();
  for (const ms of isNew ? DOWNLOAD_WAITS_MS : [0]) {
    await sleep(ms);
    if (await isDownloadKnown(upload)) return;
  }
}

// Whether this is known now. The application may still be busy with a file that has just arrived. One is looked up after
// the other: where downloads are off, the first shows it.
async function isDownloadKnown(upload) {
  const status = await (lookingUp = lookingUp.then(() => (areDownloadsOff || upload.isHidden ? 405 : requestDownloadHead(upload.url))));
  areDownloadsOff ||= (status === 405 && !upload.isHidden) || status === 412;
  upload.hasDownload = isFine({ status });
  show(upload);
  return status !== 0 && status !== 404 && status < 500;
}

start();
