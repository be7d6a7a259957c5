// How far an upload is, and how fast.

const isActive = ({ state }) => state === "uploading" || state === "retrying";

// 100 % is only said of what is done.
const percentOf = (part, total, done) => (done ? 100 : Math.min(99, Math.floor((part / total) * 100 || 0)));

function measure(upload) {
  const now = performance.now();
  upload.samples.push({ now, offset: upload.offset });
  while (now - upload.samples[0].now > 5000) upload.samples.shift();
}

// Bytes per second; 0 if it is not known.
function speedOf({ state, isElsewhere, speed, samples, offset }) {
  if (state !== "uploading") return 0;
  if (isElsewhere) return speed;
  const passed = samples.length ? performance.now() - samples[0].now : 0;
  return passed > 500 ? ((offset - samples[0].offset) / passed) * 1000 : 0;
}

// Failed uploads do not count: else the total would never be done.
function totalOf(uploads) {
  const counted = uploads.filter((u) => u.state !== "failed");
  const sum = (amount) => counted.reduce((total, u) => total + amount(u), 0);
  const done = counted.filter((u) => u.state === "done").length;
  return {
    count: counted.length,
    done,
    failed: uploads.length - counted.length,
    percent: percentOf(sum((u) => u.offset), sum((u) => u.size), done === counted.length),
    left: sum((u) => (isActive(u) || u.state === "waiting" ? u.size - u.offset : 0)),
    speed: sum(speedOf),
  };
}
