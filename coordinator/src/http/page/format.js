// Numbers, times and names as text.

const grouped = new Intl.NumberFormat('en');

/** A whole number with groups of three digits. */
export function count(n) {
  return Number.isFinite(n) ? grouped.format(Math.round(n)) : '–';
}

/** "1 worker", "3 workers". */
export function plural(n, one, many = `${one}s`) {
  return `${count(n)} ${n === 1 ? one : many}`;
}

/** A rate or another small number with as many digits as matter. */
export function decimal(n) {
  if (!Number.isFinite(n)) return '–';
  if (n === 0) return '0';
  return Math.abs(n) >= 100 ? count(n) : Math.abs(n) >= 10 ? n.toFixed(1) : n.toFixed(2);
}

/** A duration in milliseconds. */
export function duration(ms) {
  if (!Number.isFinite(ms)) return '–';
  if (ms < 0) return '0 ms';
  if (ms < 10) return ms === Math.round(ms) ? `${ms} ms` : `${ms.toFixed(1)} ms`;
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 59950) return Number.isInteger(ms / 1000) ? `${ms / 1000} s` : `${(ms / 1000).toFixed(ms < 9995 ? 2 : 1)} s`;
  const two = (n, base, large, small) => `${Math.floor(n / base)} ${large}${n % base ? ` ${n % base} ${small}` : ''}`;
  const s = Math.round(ms / 1000);
  if (s < 3600) return two(s, 60, 'min', 's');
  const min = Math.round(s / 60);
  if (min < 1440) return two(min, 60, 'h', 'min');
  return two(Math.round(min / 60), 24, 'd', 'h');
}

/** A duration to the second: it is counted up on the page, and digits behind the point would only flicker. */
export function age(ms) {
  if (!Number.isFinite(ms)) return '–';
  return ms < 1000 ? 'now' : ms < 60000 ? `${Math.floor(ms / 1000)} s` : duration(Math.floor(ms / 1000) * 1000);
}

/** How long ago something was, roughly. */
export function ago(ms) {
  if (!Number.isFinite(ms)) return '–';
  if (ms < 1000) return 'now';
  const s = Math.floor(ms / 1000);
  if (s < 60) return `${s} s ago`;
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  return s < 86_400 ? `${Math.floor(s / 3600)} h ago` : `${Math.floor(s / 86_400)} d ago`;
}

const UNITS = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

export function bytes(n) {
  if (!Number.isFinite(n)) return '–';
  let unit = 0;
  let value = n;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return unit === 0 ? `${count(n)} bytes` : `${value >= 100 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}

export function percent(ratio) {
  if (!Number.isFinite(ratio)) return '–';
  return ratio > 0 && ratio < 0.005 ? '<1 %' : `${Math.round(ratio * 100)} %`;
}

const timeOfDay = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const hourMinute = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' });
const day = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', year: 'numeric' });

const isDate = (ms) => Number.isFinite(ms) && Math.abs(ms) < 8.64e15;

/** A time of day, with the date unless it is today. */
export function clock(ms, now = Date.now()) {
  if (!isDate(ms)) return '–';
  const date = new Date(ms);
  const time = timeOfDay.format(date);
  return new Date(now).toDateString() === date.toDateString() ? time : `${day.format(date)}, ${time}`;
}

export function clockMinute(ms) {
  return isDate(ms) ? hourMinute.format(new Date(ms)) : '–';
}

/** A time as a program reads it. */
export function iso(ms) {
  return isDate(ms) ? new Date(ms).toISOString() : '';
}

/** The beginning and the end of a long id. Ids of one moment have the same beginning, so the end tells them apart. */
export function shortId(id) {
  const text = String(id ?? '');
  return text.length <= 20 ? text : `${text.slice(0, 10)}…${text.slice(-6)}`;
}

/** A worker's id without its kind, which stands beside it. */
export function shortWorker(id) {
  const text = String(id ?? '');
  const [, user, session] = /^(?:execute|prepare)\.(.+)\.([^.]+)$/.exec(text) ?? [];
  return user === undefined ? shortId(text) : `${user.length > 24 ? `${user.slice(0, 23)}…` : user}.${shortId(session)}`;
}

/** The engine without the hash of its configuration, unless the text has another form. */
export function shortEngine(engine) {
  const text = String(engine ?? '');
  const [, name, hash] = /^(.+)-([0-9a-f]{16})$/.exec(text) ?? [];
  return name === undefined ? text : `${name}-${hash.slice(0, 4)}…`;
}

/** The beginning of a text that may be long. */
export function clip(text, most = 200) {
  const whole = String(text ?? '');
  return whole.length <= most ? whole : `${whole.slice(0, most)}…`;
}
