// What the page shows: a row for each upload, the total, and what a screen reader announces.

const $ = (id) => document.getElementById(id);
const announcements = [];

function buttonsOf({ state, url, final }) {
  switch (state) {
    case "waiting":
    case "uploading": return ["pause", "cancel"];
    case "retrying": return ["retry", "pause", "cancel"];
    case "paused": return ["resume", "cancel"];
    case "missing": return ["find", "cancel"];
    // Where the server may have a part, hiding the row would silently delete it.
    case "failed": return [...(final ? [] : ["retry"]), url ? "cancel" : "hide"];
    case "done": return ["hide"];
    default: return [];
  }
}

function addRow(upload, press) {
  const row = (upload.row = $("row").content.firstElementChild.cloneNode(true));
  const part = (name) => row.querySelector(`.${name}`);
  upload.parts = { link: part("link"), percent: part("percent"), bar: part("bar"), state: part("state"), detail: part("detail") };
  const name = readable(upload.path);
  row.dataset.name = upload.path;
  part("name").title = part("heard").textContent = name;
  [part("start").textContent, part("end").textContent] = halves(name);
  part("kind").textContent = /^\w{1,4}$/.test(extensionOf(name)) ? extensionOf(name).toUpperCase() : "FILE";
  part("bar").setAttribute("aria-label", `Progress of ${name}`);
  for (const button of row.querySelectorAll("button")) {
    button.title = button.textContent;
    button.setAttribute("aria-label", `${button.textContent} ${name}`);
    button.addEventListener("click", () => press(upload, button.className));
  }
  $("uploads").append(row);
  show(upload);
}

// The focus goes to the row that takes its place.
function dropRow({ row }) {
  const next = row.nextElementSibling ?? row.previousElementSibling;
  const hadFocus = row.contains(document.activeElement);
  row.remove();
  if (hadFocus) ((next && firstButton(next)) ?? $("choose-files")).focus();
}

const firstButton = (row) => row.querySelector("button:not([hidden])");

function show(upload) {
  const { row, parts, state, url, offset, size, hasDownload } = upload;
  const percent = percentOf(offset, size, state === "done");
  row.dataset.state = state;
  if (url) row.dataset.url = url;
  else delete row.dataset.url;
  if (hasDownload) Object.assign(parts.link, { href: url, download: upload.name });
  parts.percent.textContent = `${percent} %`;
  parts.bar.firstChild.style.width = `${percent}%`;
  parts.bar.setAttribute("aria-valuenow", percent);
  parts.state.textContent = words(upload);
  parts.detail.textContent = details(upload).map((detail) => ` · ${detail}`).join("");
  showButtons(upload);
}

function showButtons(upload) {
  const shown = buttonsOf(upload);
  const focused = upload.row.contains(document.activeElement) && document.activeElement;
  for (const button of upload.row.querySelectorAll("button")) button.hidden = !shown.includes(button.className);
  if (focused?.hidden) firstButton(upload.row)?.focus();
}

function words({ state, message, url, offset, size, retryAt }) {
  switch (state) {
    case "uploading": return !url ? "Starting" : offset < size ? "Uploading" : "Finishing";
    case "retrying": return `${message}, trying again ${retryAt ? `in ${duration(retryAt - Date.now())}` : "now"}`;
    case "paused": return "Paused";
    case "missing":
    case "failed": return message;
    case "done": return "Done";
    default: return "Waiting";
  }
}

function details(upload) {
  const { state, offset, size, isElsewhere } = upload;
  if (state === "done") return [bytes(size), ...taken(upload)];
  const part = offset > 0 ? `${bytes(offset)} of ${bytes(size)}` : bytes(size);
  return [part, ...pace(speedOf(upload), size - offset), ...(isElsewhere ? ["in another tab"] : [])];
}

const pace = (speed, left) => (speed ? [`${bytes(speed)}/s`, `${duration((left / speed) * 1000)} left`] : []);

// After a reload only a part was sent by this page: its speed is known, the total time is not.
function taken({ size, sessionStart, spentMs }) {
  if (spentMs < 500) return [];
  const speed = `${bytes(((size - sessionStart) / spentMs) * 1000)}/s on average`;
  return sessionStart ? [speed] : [`took ${duration(spentMs)}`, speed];
}

function showTotal(uploads) {
  const { count, done, failed, percent, left, speed } = totalOf(uploads);
  const parts = [count && `${done} of ${count} done`, failed && `${failed} failed`];
  const summary = parts.filter(Boolean).join(", ");
  if ($("summary").textContent !== summary) $("summary").textContent = summary; // is read aloud, so on change only
  $("pace").textContent = count ? [`${percent} %`, ...pace(speed, left)].join(" · ") : "";
  if (document.activeElement === $("clear") && !done) $("choose-files").focus();
  $("clear").hidden = !done;
  $("total").hidden = !uploads.length;
  document.body.classList.toggle("listing", uploads.length > 0);
  document.title = uploads.some(isActive) ? `${percent} % – Upload files` : "Upload files";
}

// What happens at once is read aloud at once.
function announce(text) {
  if (announcements.push(text) > 1) return;
  setTimeout(() => ($("alerts").textContent = listed(announcements.splice(0))), 100);
}

function showNotice(text) {
  $("notice").hidden = !text;
  $("notice").textContent = text;
}
