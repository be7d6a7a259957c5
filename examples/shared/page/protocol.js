// The tus protocol: requests, and what went wrong in words.

const ENDPOINT = new URL("files", document.baseURI);
const STALLED_MS = 30_000;
const WORTH_RETRYING = [408, 409, 423, 429, 460];

// Ends early if a signal is aborted.
function sleep(ms, signal) {
  return new Promise((resolve) => {
    const end = () => {
      signal?.removeEventListener("abort", end);
      resolve();
    };
    setTimeout(end, ms);
    signal?.addEventListener("abort", end);
  });
}

class Problem extends Error {
  // `retry`: soon, by itself. `final`: the same request would be refused again, whatever the user does meanwhile.
  constructor(message, { status = 0, retry = false, final = false, afterMs = 0 }) {
    super(message);
    Object.assign(this, { status, retry, final, afterMs });
  }
}

async function requestCreation({ size, name, path, type }) {
  const pairs = { filename: name, filetype: type, relativePath: path === name ? "" : path };
  const base64 = (text) => btoa(Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join(""));
  const metadata = Object.entries(pairs).filter(([, value]) => value).map(([key, value]) => `${key} ${base64(value)}`);
  const headers = { "Upload-Length": size, "Upload-Metadata": metadata.join(",") };
  const answer = await request("POST", ENDPOINT, { headers });
  if (!isFine(answer)) throw await refusal(answer);
  return new URL(header(answer, "Location"), ENDPOINT).href;
}

const requestOffset = (url, signal) => request("HEAD", url, { signal });

function requestAppend({ url, file, offset }, signal, onSent) {
  const headers = { "Upload-Offset": offset, "Content-Type": "application/offset+octet-stream" };
  return request("PATCH", url, { headers, body: file.slice(offset), signal, onSent });
}

async function offsetIn(answer, size) {
  if (!isFine(answer)) throw await refusal(answer);
  const offset = Number(header(answer, "Upload-Offset"));
  if (!(offset <= size)) throw new Problem("The server gave a wrong offset", { retry: true });
  return offset;
}

// A HEAD without words of tus is answered like the GET of a download. A redirect may lead to a login page. 0: no answer.
const requestDownloadHead = (url) => fetch(url, { method: "HEAD", redirect: "error" }).then(({ status }) => status, () => 0);

// What has become of an upload that is to be deleted: "gone", "refused" for now, or "unknown". A server that has turned
// deletions off has no other word: it is as good as gone.
async function requestDeletion(url) {
  const answer = await request("DELETE", url).catch(() => null);
  if (!answer || isWorthRetrying(answer.status)) return "unknown";
  if (isAbsent(answer)) return (await isGone(url, answer)) ? "gone" : "unknown";
  if (isFine(answer)) return isFromServer(answer) ? "gone" : "unknown";
  return answer.status === 405 && isFromServer(answer) ? "gone" : "refused";
}

// Hotel networks and proxies may answer in the server's place, with success even.
const isFromServer = (answer) => answer.getResponseHeader("Tus-Resumable") !== null;
const impostor = () => new Problem("The response did not come from the upload server", { retry: true });

function header(answer, name) {
  const value = answer.getResponseHeader(name);
  if (value === null) throw impostor();
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

const isFine = ({ status }) => status >= 200 && status < 300;
const isAbsent = ({ status }) => status === 404 || status === 410;
const isServerThere = (signal) => request("OPTIONS", ENDPOINT, { signal }).then(isFromServer, () => false);

// Whether the server has no upload, after the answer that it is absent. That may be the error page of a proxy without a
// server behind it. If the server is there, and it stays absent, the proxy has only replaced the server's words.
async function isGone(url, answer, signal) {
  if (isFromServer(answer)) return true;
  return (await isServerThere(signal)) && isAbsent(await requestOffset(url, signal).catch(() => ({ status: 0 })));
}

const isWorthRetrying = (status) => (status >= 500 && status !== 507) || WORTH_RETRYING.includes(status);

async function refusal(answer) {
  const { status } = answer;
  if (isAbsent(answer) && !isFromServer(answer) && !(await isServerThere())) return impostor();
  const retry = isWorthRetrying(status);
  // Users can sign in in another tab, and make room on the disk. What a proxy refuses may be allowed elsewhere, but not a
  // size.
  const canChange = status === 401 || status === 507 || (status !== 413 && !isFromServer(answer));
  return new Problem(await complaint(answer), { status, retry, final: !retry && !canChange, afterMs: retryAfter(answer) });
}

async function complaint(answer) {
  const { status } = answer;
  const isHtml = /html/i.test(answer.getResponseHeader("Content-Type")); // by something in between, hard to read
  const said = (!isHtml && answer.responseText.trim().slice(0, 300)) || `status ${status}`;
  if (status === 401) return `The server asks you to sign in: ${said}`;
  if (status === 403) return `The server does not allow this upload: ${said}`;
  if (status === 413 && !isFromServer(answer)) return "A proxy in front of the server refuses requests as large as this file";
  if (status === 413) return `The file is larger than the server accepts${await sizeLimit()}`;
  if (status === 429) return "The server is busy";
  if (status === 507) return `The server’s disk is full. The upload resumes when there is room: ${said}`;
  if (status >= 500) return `The server has a problem (status ${status})`;
  return isWorthRetrying(status) ? "The server is not ready for this upload" : `The server refused this upload: ${said}`;
}

async function sizeLimit() {
  const answer = await request("OPTIONS", ENDPOINT).catch(() => null);
  const limit = answer?.getResponseHeader("Tus-Max-Size");
  return limit ? ` (at most ${bytes(Number(limit))})` : "";
}

function retryAfter(answer) {
  const value = answer.getResponseHeader("Retry-After") ?? "0";
  const ms = /^\d+$/.test(value) ? value * 1000 : Date.parse(value) - Date.now();
  return Math.min(Math.max(ms || 0, 0), 24 * 3600 * 1000);
}
