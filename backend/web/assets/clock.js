// Time as the shop keeps it. An answer's server_time is always a little old when it is read (network,
// caches), so each sample puts the clock behind, never ahead: the sample that puts it least behind is
// the best one, and it wins for the last minutes' samples.

const samples = [];
const keepSamples = 20;

/** Learns from an answer that carries server_time in milliseconds. */
export function learn(serverMillis) {
  if (!Number.isFinite(serverMillis)) return;
  samples.push(serverMillis - Date.now());
  if (samples.length > keepSamples) samples.shift();
}

export const known = () => samples.length > 0;

/** Now in shop time, milliseconds since 1970. */
export const now = () => Date.now() + (samples.length ? Math.max(...samples) : 0);

const two = (n) => String(n).padStart(2, "0");

/** "2 d 03:04:05", "03:04:05" or "04:05". Rounds up, so that it shows 00:00 only when the hour has come. */
export function span(milliseconds) {
  const s = Math.max(0, Math.ceil(milliseconds / 1000));
  const days = Math.floor(s / 86400);
  const hours = Math.floor((s % 86400) / 3600);
  const clock = `${two(Math.floor((s % 3600) / 60))}:${two(s % 60)}`;
  if (days > 0) return `${days} d ${two(hours)}:${clock}`;
  return hours > 0 ? `${two(hours)}:${clock}` : clock;
}

const timeOnly = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const timeShort = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const dayAndTime = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

export const clockText = (millis) => timeOnly.format(millis);

/** A moment in the reader's own time zone; without the day when it is today. */
export function moment(millis) {
  const sameDay = new Date(millis).toDateString() === new Date(now()).toDateString();
  return (sameDay ? timeShort : dayAndTime).format(millis);
}
