(() => {
  "use strict";

  const ENDPOINT = new URL("files", document.baseURI);
  const AT_ONCE = 3;
  const STALLED_MS = 30_000;
  const FIRST_WAIT_MS = 500;
  const LONGEST_WAIT_MS = 15_000;
  const DISK_FULL_WAIT_MS = 60_000;
  const WORTH_RETRYING = [408, 409, 423, 429, 460];
  const BUTTONS = {
    waiting: ["pause", "cancel"],
    uploading: ["pause", "cancel"],
    retrying: ["retry", "pause", "cancel"],
    paused: ["resume", "cancel"],
    missing: ["find", "cancel"],
    failed: ["retry", "remove"],
    done: ["remove"],
  };

  const uploads = [];
  const $ = (id) => document.getElementById(id);

  function start() {
    $("choose").addEventListener("change", () => {
      add([...$("choose").files]);
      $("choose").value = ""; // so that the same file can be chosen again
    });
    $("clear").addEventListener("click", () => uploads.filter((u) => u.state === "done").forEach(removeRow));
    addEventListener("dragover", showDragging);
    addEventListener("dragleave", (event) => event.relatedTarget || document.body.classList.remove("dragging"));
    addEventListener("drop", takeDropped);
    setInterval(() => {
      uploads.filter(isActive).forEach(show);
      showTotal();
    }, 1000);
    restore().catch(() => {}); // without a database the page still uploads, it only forgets
  }

  // ---- Files come in: dropped, chosen, or kept from an earlier visit

  function showDragging(event) {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    document.body.classList.add("dragging");
  }

  function takeDropped(event) {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    document.body.classList.remove("dragging");
    const items = [...event.dataTransfer.items].filter((item) => item.kind === "file");
    const files = items.filter((item) => !item.webkitGetAsEntry?.()?.isDirectory).map((item) => item.getAsFile()).filter(Boolean);
    $("notice").hidden = files.length === items.length;
    add(files);
  }

  function add(files) {
    for (const file of files) {
      const missing = uploads.find((u) => u.state === "missing" && isSameFile(u, file));
      const upload = missing ?? list(file);
      upload.file = file;
      setState(upload, "waiting");
      (missing ? Promise.resolve() : claim(upload)).then(() => remember(upload));
    }
    pump();
  }

  const isSameFile = (a, b) => a.name === b.name && a.size === b.size && a.lastModified === b.lastModified;

  function list({ id = newId(), url = null, name, type, size, lastModified, offset = 0 }) {
    const known = { id, url, name, type, size, lastModified, offset };
    const upload = { ...known, state: "loading", confirmed: 0, failures: 0, spentMs: 0, samples: [] };
    uploads.push(upload);
    addRow(upload);
    return upload;
  }

  // The time comes first, so that the database gives the uploads back in their order.
  let counter = 0;
  function newId() {
    return `${Date.now()}-${String(counter++).padStart(6, "0")}-${Math.random().toString(36).slice(2)}`;
  }

  async function restore() {
    for (const record of await storedUploads()) {
      const upload = list(record);
      if (record.state === "cancelled") removeRow(upload);
      claim(upload, () => setState(upload, "elsewhere")).then(() => takeOver(upload));
    }
    await forgetStrayFiles();
  }

  // While another tab had this upload, it may have come to an end there.
  async function takeOver(upload) {
    const record = await storedUpload(upload.id);
    if (!record) {
      removeRow(upload);
      return settle(upload);
    }
    Object.assign(upload, { url: record.url, offset: record.offset, file: await storedFile(upload.id) });
    if (record.state === "cancelled") return cancel(upload);
    setState(upload, !upload.file ? "missing" : record.state === "paused" ? "paused" : "waiting");
    pump();
  }

  // ---- What the buttons do

  const actions = {
    cancel,
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
    find: () => $("choose").click(),
    remove: (upload) => (upload.state === "done" ? removeRow(upload) : cancel(upload)),
  };

  // The wish is saved first: if the page is closed now, the next visit deletes the upload on the server.
  async function cancel(upload) {
    upload.stopper?.abort();
    upload.state = "cancelled";
    save(upload);
    removeRow(upload);
    pump();
    await upload.creating?.catch(() => {});
    if (upload.url) await terminate(upload.url);
    settle(upload);
  }

  async function terminate(url) {
    for (let failures = 0; failures < 20; failures++) {
      const answer = await request("DELETE", url).catch(() => null);
      if (answer && !isWorthRetrying(answer.status)) return;
      await sleep(waitAfter(failures));
    }
  }

  // It came to its end: other tabs and later visits need not know it.
  async function settle(upload) {
    upload.settled = true;
    await forget(upload);
    upload.release?.();
  }

  // ---- The queue, and the life of one upload

  const isActive = ({ state }) => state === "uploading" || state === "retrying";

  function pump() {
    let free = AT_ONCE - uploads.filter(isActive).length;
    for (const upload of uploads) {
      if (upload.state === "waiting" && free-- > 0) run(upload);
    }
    showTotal();
  }

  async function run(upload) {
    const { signal } = (upload.stopper = new AbortController());
    setState(upload, "uploading");
    while (isActive(upload) && !signal.aborted) {
      try {
        await transfer(upload, signal);
        setState(upload, "done");
        settle(upload);
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

  async function recover(upload, problem, signal) {
    const file = await readableFile(upload);
    if (signal.aborted) return;
    if (!file) return setState(upload, "missing", "The file was changed or moved. ");
    upload.file = file;
    if (problem.retry) return waitToRetry(upload, problem, signal);
    setState(upload, "failed", problem.message);
    if (problem.status !== 507) return;
    sleep(Math.max(DISK_FULL_WAIT_MS, problem.afterMs)).then(() => signal.aborted || actions.resume(upload));
  }

  // The kept copy stands in for a file that was changed on the disk meanwhile.
  async function readableFile({ id, file, confirmed }) {
    const ifReadable = (some) => some?.slice(confirmed, confirmed + 1).arrayBuffer().then(() => some, () => null);
    return (await ifReadable(file)) ?? ifReadable(await storedFile(id));
  }

  async function waitToRetry(upload, { message, afterMs }, signal) {
    const ms = Math.max(waitAfter(upload.failures++), afterMs);
    const over = new AbortController();
    upload.retryAt = Date.now() + ms;
    setState(upload, "retrying", message);
    await new Promise((resolve) => {
      setTimeout(resolve, ms);
      signal.addEventListener("abort", resolve, { signal: over.signal });
      if (!afterMs) addEventListener("online", resolve, { signal: over.signal });
    });
    over.abort();
    upload.retryAt = null;
    show(upload);
  }

  function waitAfter(failures) {
    const jitter = 0.7 + Math.random() * 0.3;
    return Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** failures) * jitter;
  }

  const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

  // ---- The tus protocol

  // Never aborted, even if the upload is paused or cancelled: else nobody would know the new URL.
  async function create(upload) {
    const headers = { "Upload-Length": upload.size, "Upload-Metadata": metadata(upload) };
    const answer = await request("POST", ENDPOINT, { headers });
    if (!isFine(answer)) throw await refusal(answer);
    upload.url = new URL(header(answer, "Location"), ENDPOINT).href;
    upload.offset = upload.confirmed = 0;
    save(upload);
  }

  function metadata({ name, type }) {
    const base64 = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));
    return `filename ${base64(name)}` + (type && `,filetype ${base64(type)}`);
  }

  async function askOffset(upload, signal) {
    const answer = await request("HEAD", upload.url, { signal });
    const before = upload.confirmed;
    await confirmOffset(upload, answer);
    if (upload.confirmed > before) upload.failures = 0;
  }

  async function send(upload, signal) {
    const from = upload.offset;
    const began = performance.now();
    upload.samples = [];
    measure(upload);
    const headers = { "Upload-Offset": from, "Content-Type": "application/offset+octet-stream" };
    const answer = await request("PATCH", upload.url, { headers, body: upload.file.slice(from), signal, onSent })
      .finally(() => (upload.spentMs += performance.now() - began));
    await confirmOffset(upload, answer);
    if (upload.offset <= from) throw new Problem("The server took nothing", { retry: true });

    function onSent(sent) {
      upload.offset = from + sent;
      if (performance.now() - began > 2000) upload.failures = 0; // by now it is more than a filled buffer
      measure(upload);
      show(upload);
    }
  }

  async function confirmOffset(upload, answer) {
    if (answer.status === 404 || answer.status === 410) {
      Object.assign(upload, { url: null, offset: 0, confirmed: 0 });
      save(upload);
      throw new Problem("The server no longer has the first part; starting anew", { retry: true });
    }
    if (!isFine(answer)) throw await refusal(answer);
    const offset = Number(header(answer, "Upload-Offset"));
    if (!(offset <= upload.size)) throw new Problem("The server gave a wrong offset", { retry: true });
    upload.offset = upload.confirmed = offset;
  }

  // Hotel networks and proxies may answer in the server's place, with success even.
  function header(answer, name) {
    const value = answer.getResponseHeader(name);
    if (value === null) throw new Problem("The response did not come from the upload server", { retry: true });
    return value;
  }

  function request(method, url, { headers, body = null, signal, onSent } = {}) {
    return new Promise((resolve, reject) => {
      const xhr = new XMLHttpRequest();
      const abort = () => xhr.abort();
      const fail = (message) => reject(new Problem(message, { retry: true }));
      let timer = setTimeout(abort, STALLED_MS);
      let sent = 0;
      xhr.open(method, url);
      for (const [name, value] of Object.entries({ "Tus-Resumable": "1.0.0", ...headers })) xhr.setRequestHeader(name, value);
      xhr.upload.onprogress = ({ loaded }) => {
        if (loaded <= sent) return;
        clearTimeout(timer);
        timer = setTimeout(abort, STALLED_MS);
        onSent?.((sent = loaded));
      };
      xhr.onload = () => resolve(xhr);
      xhr.onabort = () => fail("The server does not answer");
      xhr.onerror = () => fail(navigator.onLine ? "The server cannot be reached" : "You are offline");
      xhr.onloadend = () => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
      };
      signal?.addEventListener("abort", abort);
      xhr.send(body);
    });
  }

  // ---- What went wrong, in words

  class Problem extends Error {
    constructor(message, { status = 0, retry = false, afterMs = 0 }) {
      super(message);
      Object.assign(this, { status, retry, afterMs });
    }
  }

  const isFine = ({ status }) => status >= 200 && status < 300;
  const isWorthRetrying = (status) => (status >= 500 && status !== 507) || WORTH_RETRYING.includes(status);

  async function refusal(answer) {
    const { status } = answer;
    return new Problem(await complaint(answer), { status, retry: isWorthRetrying(status), afterMs: retryAfter(answer) });
  }

  async function complaint(answer) {
    const { status } = answer;
    const isHtml = /html/i.test(answer.getResponseHeader("Content-Type")); // by something in between, hard to read
    const said = (!isHtml && answer.responseText.trim().slice(0, 300)) || `status ${status}`;
    if (status === 401 || status === 403) return `The server does not allow this upload: ${said}`;
    if (status === 413) return `The file is larger than the server accepts${await sizeLimit()}`;
    if (status === 429) return "The server has too much to do";
    if (status === 507) return `The server’s disk is full, the upload resumes when there is room: ${said}`;
    if (status >= 500) return `The server has a problem (status ${status})`;
    return isWorthRetrying(status) ? "The server is not ready for this upload" : `The server refused this upload: ${said}`;
  }

  async function sizeLimit() {
    const answer = await request("OPTIONS", ENDPOINT).catch(() => null);
    const limit = answer?.getResponseHeader("Tus-Max-Size");
    return limit ? ` (max ${bytes(Number(limit))})` : "";
  }

  function retryAfter(answer) {
    const value = answer.getResponseHeader("Retry-After") ?? "0";
    const ms = /^\d+$/.test(value) ? value * 1000 : Date.parse(value) - Date.now();
    return Math.min(Math.max(ms || 0, 0), 24 * 3600 * 1000);
  }

  // ---- Remembering across visits

  const MEMORY = `uploads to ${ENDPOINT.pathname}`;
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

  async function inStore(name, mode, work) {
    const opened = await (database ??= openDatabase());
    return new Promise((resolve, reject) => {
      const transaction = opened.transaction(name, mode);
      const asked = work(transaction.objectStore(name));
      transaction.oncomplete = () => resolve(asked.result);
      transaction.onabort = () => reject(transaction.error);
    });
  }

  const read = (name, work) => inStore(name, "readonly", work);
  const write = (name, work) => inStore(name, "readwrite", work).catch(() => {});

  const storedUploads = () => read("records", (store) => store.getAll());
  const storedUpload = (id) => read("records", (store) => store.get(id));
  const storedFile = (id) => read("files", (store) => store.get(id)).catch(() => null);

  async function remember(upload) {
    await save(upload);
    if (!upload.settled) await write("files", (store) => store.put(upload.file, upload.id));
  }

  async function save(upload) {
    const { id, url, name, type, size, lastModified, offset, state } = upload;
    const record = { id, url, name, type, size, lastModified, offset, state };
    if (!upload.settled) await write("records", (store) => store.put(record, id));
  }

  async function forget({ id }) {
    write("files", (store) => store.delete(id));
    await write("records", (store) => store.delete(id));
  }

  // A visit may have ended between forgetting a record and forgetting its file.
  async function forgetStrayFiles() {
    const files = await read("files", (store) => store.getAllKeys());
    const known = await read("records", (store) => store.getAllKeys());
    files.filter((id) => !known.includes(id)).forEach((id) => write("files", (store) => store.delete(id)));
  }

  // One tab owns an upload; when that tab is closed, another one takes over. Without locks (plain
  // http on another host) two tabs would both send, and the server's check of offsets keeps it right.
  async function claim(upload, onBusy) {
    if (!navigator.locks) return;
    const name = `${MEMORY} ${upload.id}`;
    const release = await new Promise((resolve) => {
      const hold = () => new Promise((release) => resolve(release));
      navigator.locks.request(name, { ifAvailable: true }, (lock) => {
        if (lock) return hold();
        onBusy();
        navigator.locks.request(name, hold);
      });
    });
    if (upload.settled) release();
    upload.release = release;
  }

  // ---- Showing

  function addRow(upload) {
    const row = (upload.row = $("row").content.firstElementChild.cloneNode(true));
    const part = (name) => row.querySelector(`.${name}`);
    upload.parts = { percent: part("percent"), bar: part("bar"), state: part("state"), detail: part("detail") };
    row.dataset.name = part("name").textContent = part("name").title = upload.name;
    part("kind").textContent = /\.(\w{1,4})$/.exec(upload.name)?.[1].toUpperCase() ?? "FILE";
    part("bar").setAttribute("aria-label", `Progress of ${upload.name}`);
    for (const button of row.querySelectorAll("button")) {
      button.title = button.textContent;
      button.setAttribute("aria-label", `${button.textContent} ${upload.name}`);
      button.addEventListener("click", () => actions[button.className](upload));
    }
    $("uploads").append(row);
    show(upload);
  }

  function removeRow(upload) {
    const place = uploads.indexOf(upload);
    if (place < 0) return;
    uploads.splice(place, 1);
    const hadFocus = upload.row.contains(document.activeElement);
    upload.row.remove();
    if (hadFocus) (firstButton(uploads[place] ?? uploads[place - 1]) ?? $("choose")).focus();
    showTotal();
  }

  const firstButton = (upload) => upload?.row.querySelector("button:not([hidden])");

  function setState(upload, state, message = "") {
    Object.assign(upload, { state, message });
    show(upload);
  }

  function show(upload) {
    const { row, parts, state, url, offset, size } = upload;
    const percent = percentOf(offset, size, state === "done");
    row.dataset.state = BUTTONS[state] ? state : "waiting";
    row.classList.toggle("elsewhere", state === "elsewhere");
    if (url) row.dataset.url = url;
    else delete row.dataset.url;
    parts.percent.textContent = `${percent} %`;
    parts.bar.firstChild.style.width = `${percent}%`;
    parts.bar.setAttribute("aria-valuenow", percent);
    parts.state.textContent = words(upload);
    parts.detail.textContent = details(upload).map((detail) => ` · ${detail}`).join("");
    showButtons(upload);
  }

  function showButtons({ row, state }) {
    const focused = row.contains(document.activeElement) && document.activeElement;
    for (const button of row.querySelectorAll("button")) button.hidden = !BUTTONS[state]?.includes(button.className);
    if (focused?.hidden) firstButton({ row })?.focus();
  }

  function words({ state, message, url, offset, size, retryAt }) {
    switch (state) {
      case "uploading": return !url ? "Starting" : offset < size ? "Uploading" : "Finishing";
      case "retrying": return `${message}, trying again ${retryAt ? `in ${duration(retryAt - Date.now())}` : "now"}`;
      case "paused": return "Paused";
      case "missing": return `${message}Choose the file again to resume`;
      case "failed": return message;
      case "done": return "Done";
      case "elsewhere": return "Open in another tab";
      default: return "Waiting";
    }
  }

  function details(upload) {
    const { state, offset, size } = upload;
    if (state === "done") return [bytes(size), ...taken(upload)];
    const part = offset > 0 ? `${bytes(offset)} of ${bytes(size)}` : bytes(size);
    return [part, ...pace(state === "uploading" && speedOf(upload), size - offset)];
  }

  const pace = (speed, left) => (speed ? [`${bytes(speed)}/s`, `${duration((left / speed) * 1000)} left`] : []);

  // After a reload only a part was sent by this page: its speed is known, the total time is not.
  function taken({ size, sessionStart, spentMs }) {
    if (spentMs < 500) return [];
    const speed = `${bytes(((size - sessionStart) / spentMs) * 1000)}/s on average`;
    return sessionStart ? [speed] : [`took ${duration(spentMs)}`, speed];
  }

  function showTotal() {
    const own = uploads.filter((u) => u.state !== "elsewhere");
    const count = (state) => own.filter((u) => u.state === state).length;
    const sum = (amount) => own.reduce((total, u) => total + amount(u), 0);
    const size = sum((u) => u.size);
    const sent = sum((u) => u.offset);
    const left = sum((u) => (isActive(u) || u.state === "waiting" ? u.size - u.offset : 0));
    const speed = sum((u) => (u.state === "uploading" ? speedOf(u) : 0));
    const percent = percentOf(sent, size, count("done") === own.length);
    const summary = `${count("done")} of ${own.length} done${count("failed") ? `, ${count("failed")} failed` : ""}`;
    if ($("summary").textContent !== summary) $("summary").textContent = summary; // is read aloud, so on change only
    $("pace").textContent = [`${percent} %`, ...pace(speed, left)].join(" · ");
    $("clear").hidden = !count("done");
    $("total").hidden = !own.length;
    document.title = own.some(isActive) ? `${percent} % – Upload files` : "Upload files";
  }

  function measure(upload) {
    const now = performance.now();
    upload.samples.push({ now, offset: upload.offset });
    while (now - upload.samples[0].now > 5000) upload.samples.shift();
  }

  function speedOf({ samples, offset }) {
    const passed = samples.length ? performance.now() - samples[0].now : 0;
    return passed > 500 ? ((offset - samples[0].offset) / passed) * 1000 : 0;
  }

  // 100 % is only said of what is done.
  const percentOf = (part, total, done) => (done ? 100 : Math.min(99, Math.floor((part / total) * 100 || 0)));

  function bytes(count) {
    const units = ["B", "kB", "MB", "GB", "TB"];
    const unit = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(count, 1)) / 3));
    const number = count / 1000 ** unit;
    return `${unit && number < 10 ? number.toFixed(1) : Math.round(number)} ${units[unit]}`;
  }

  function duration(ms) {
    const seconds = Math.max(1, Math.round(ms / 1000));
    const minutes = Math.round(seconds / 60);
    if (seconds < 60) return `${seconds} s`;
    return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  }

  start();
})();
