// Several tabs: one of them owns an upload and sends it. The others show it, and pass on what the user wants of it.
// When the owner is closed, another tab takes over.

const OTHERS_ANSWER_MS = 500;
const SAY_EVERY_MS = 250;
const TAB = Math.random();
const tabs = openChannel();
let isLeaving = false;

// A browser that may store nothing may refuse this, too: then this tab knows of no other.
function openChannel() {
  try {
    return new BroadcastChannel(MEMORY);
  } catch {
    return { postMessage() {} };
  }
}

// Waits until this tab owns an upload. One that is new is nobody else's.
function claim(upload, isNew) {
  upload.isClaimed = true;
  if (!navigator.locks) return claimWithoutLocks(upload, isNew);
  return new Promise((resolve) => {
    const owning = navigator.locks.request(`${MEMORY} ${upload.id}`, () => {
      own(upload);
      resolve();
      return new Promise((release) => (upload.settled ? release() : (upload.release = release)));
    });
    owning.catch(() => resolve(claimWithoutLocks(upload, isNew)));
  });
}

// Browsers have locks in secure contexts only: not over plain HTTP on another host, nor where they may store nothing.
// There, an upload belongs to this tab if no other one speaks of it, or says that it wants it, too, and has the smaller
// number. Should two tabs send it at once, the server's check of offsets keeps it right; one without a URL is created
// twice.
async function claimWithoutLocks(upload, isNew) {
  while (!isNew) {
    if (upload.isElsewhere) await new Promise((resolve) => (upload.whenLeft = resolve));
    await sleep(OTHERS_ANSWER_MS);
    if (upload.isElsewhere) continue;
    upload.isWanted = true;
    want(upload);
    await sleep(OTHERS_ANSWER_MS);
    // Whoever spoke of it meanwhile may have left again: then this tab asks again.
    if (upload.isWanted) break;
  }
  own(upload);
}

function hearWanted(upload, by) {
  if (upload.isOwn) sayAll([upload]);
  else if (by < TAB) Object.assign(upload, { isElsewhere: true, isWanted: false });
  else if (upload.isWanted) want(upload);
}

const want = ({ id }) => tabs.postMessage({ wanted: id, by: TAB });

function own(upload) {
  upload.isOwn = true;
  upload.isWanted = false;
  upload.isElsewhere = false;
}

// ---- What tabs say to each other

// Changes of the state at once, progress some times a second.
function say(upload) {
  if (!upload.isOwn || upload.isHidden || isLeaving) return;
  const now = performance.now();
  const { state, message, retryAt } = upload;
  const news = `${state} ${message} ${retryAt} ${upload.url}`;
  if (news === upload.saidNews && now - upload.saidAt < SAY_EVERY_MS) return;
  Object.assign(upload, { saidNews: news, saidAt: now });
  tabs.postMessage({ upload: { ...recordOf(upload), retryAt, speed: speedOf(upload) } });
}

const sayAll = (uploads) => uploads.forEach((upload) => say(Object.assign(upload, { saidAt: -Infinity })));
const sayHidden = ({ id }) => {
  hiddenElsewhere.add(id);
  tabs.postMessage({ hidden: id });
};

// Requests go on for a moment, but their progress is no longer said: this tab would seem to be there still.
function sayLeaving(uploads) {
  isLeaving = true;
  tabs.postMessage({ left: uploads.filter((u) => u.isOwn || u.isWanted).map((u) => u.id) });
}

const askOthers = () => tabs.postMessage({ ask: "everything" });
const askOwner = ({ id }, action, file) => tabs.postMessage({ ask: action, id, file });
