// Requests to the coordinator that serves this page. Every address is relative: the page works beneath any path of a
// proxy.

/** An answer that is not the data, or no answer. */
export class ApiError extends Error {
  constructor(message, status = 0, standby = false) {
    super(message);
    this.status = status;
    this.standby = standby;
  }
}

/**
 * Parses JSON, and keeps whole numbers of 16 or more digits as text: tokens and job ids have 64 bits, and a number of
 * JavaScript has 53. The pattern only matches names of members: inside a text a quote has a backslash before it.
 */
export function parse(text) {
  return JSON.parse(text.replace(/([{,]\s*"[A-Za-z0-9_-]+"\s*:\s*)(-?\d{16,})(?=\s*[,}])/g, '$1"$2"'));
}

const TIMEOUT_MS = 20_000;

/** GET of an address of the API. */
export async function getJson(path, signal = null) {
  const controller = new AbortController();
  const abort = () => controller.abort();
  const timer = setTimeout(abort, TIMEOUT_MS);
  signal?.addEventListener('abort', abort, { once: true });
  try {
    const answer = await fetch(path, { cache: 'no-store', signal: controller.signal, headers: { accept: 'application/json' } });
    return await read(answer);
  } catch (error) {
    if (error instanceof ApiError) throw error;
    const late = controller.signal.aborted && !signal?.aborted;
    throw new ApiError(late ? `no answer within ${TIMEOUT_MS / 1000} s` : 'the coordinator cannot be reached');
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
  }
}

async function read(answer) {
  const text = await answer.text();
  let body = null;
  try {
    body = parse(text);
  } catch {
    // A proxy answers with its own page: the status below says what happened.
  }
  if (answer.ok && body !== null) return body;
  const message = typeof body?.error === 'string' ? body.error : `${answer.status} ${answer.statusText}`.trim();
  throw new ApiError(answer.ok ? 'the answer is not JSON' : message, answer.status, body?.standby === true);
}

/** Query parameters that have a value, as text that begins with `?`; empty if there are none. */
export function query(parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined && value !== '');
  return given.length ? `?${new URLSearchParams(given)}` : '';
}

/**
 * Reads a stream of server-sent events until it ends. `fetch` instead of `EventSource`, because the first connection
 * must be able to ask for earlier events, and because a refusal of a standby has a body that says so.
 *
 * `heard()` is called for whatever arrives, comments too.
 */
export async function readEvents(path, lastEventId, signal, { opened, heard, message }) {
  const headers = { accept: 'text/event-stream' };
  if (lastEventId !== null) headers['last-event-id'] = lastEventId;
  const answer = await fetch(path, { cache: 'no-store', signal, headers });
  if (!answer.ok || !answer.body) await read(answer);
  opened();
  const reader = answer.body.getReader();
  const decoder = new TextDecoder();
  const parser = eventParser(message);
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    heard();
    parser(decoder.decode(value, { stream: true }));
  }
}

/** Most characters of one event: what is longer is skipped, so that no sender fills the memory of the page. */
const MAX_EVENT = 4_000_000;

/** Takes text in pieces and calls `message({id, event, data})` for each complete event. */
export function eventParser(message) {
  let rest = '';
  let current = { id: null, event: 'message', data: '' };
  const line = (text) => {
    if (text === '') {
      if (current.data !== '') message({ ...current, data: current.data.slice(0, -1) });
      current = { id: null, event: 'message', data: '' };
      return;
    }
    const colon = text.indexOf(':');
    if (colon === 0) return;
    const name = colon < 0 ? text : text.slice(0, colon);
    const value = colon < 0 ? '' : text.slice(text[colon + 1] === ' ' ? colon + 2 : colon + 1);
    if (name === 'data') current.data = current.data.length < MAX_EVENT ? `${current.data}${value}\n` : '';
    else if (name === 'event') current.event = value;
    else if (name === 'id') current.id = value;
  };
  return (piece) => {
    rest += piece;
    let from = 0;
    for (let end = rest.indexOf('\n'); end >= 0; end = rest.indexOf('\n', from)) {
      line(rest.slice(from, rest[end - 1] === '\r' && end > from ? end - 1 : end));
      from = end + 1;
    }
    rest = rest.slice(from);
    if (rest.length > MAX_EVENT) rest = '';
  };
}
