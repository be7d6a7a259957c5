// Numbers and names in words.

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

// Control characters, and those that change the direction of writing, could make a name look like another one.
const readable = (name) => name.replace(/[\p{Cc}\u202a-\u202e\u2066-\u2069]/gu, "\ufffd");

const extensionOf = (name) => /\.(\w{1,6})$/.exec(name)?.[1] ?? "";

// The part of a name that may be shortened, and its end, which stays: "holiday in the mount…" and "ains 2.mp4".
function halves(name) {
  const letters = [...new Intl.Segmenter().segment(name)].map(({ segment }) => segment);
  const end = Math.min(extensionOf(name).length + 6, Math.floor(letters.length / 2));
  return [letters.slice(0, letters.length - end).join(""), letters.slice(letters.length - end).join("")];
}

// "a", "a and b", "a, b and 7 more"
function listed(names) {
  if (names.length > 3) return `${names.slice(0, 2).join(", ")} and ${names.length - 2} more`;
  return [names.slice(0, -1).join(", "), ...names.slice(-1)].filter(Boolean).join(" and ");
}
