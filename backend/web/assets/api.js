// The HTTP API as the page sees it: every answer is either a body or a Problem with a stable code.

/** A refusal or failure. code "network" means that no answer of the shop came, or only a proxy's: the outcome is not known. */
export class Problem extends Error {
  constructor(status, body, retryAfter) {
    super(body.detail || body.title || "");
    this.status = status;
    this.code = body.code || (status >= 500 ? "network" : "internal");
    this.body = body;
    this.retryAfter = retryAfter;
  }
}

/**
 * Calls the API. Times out after `within` milliseconds.
 * @returns {Promise<{status: number, body: object}>}
 */
export async function call(method, path, { body, headers = {}, within = 15000, signal } = {}) {
  const ending = new AbortController();
  const end = () => ending.abort();
  const timer = setTimeout(end, within);
  signal?.addEventListener("abort", end, { once: true });
  if (signal?.aborted) end();
  const options = { method, headers: { Accept: "application/json", ...headers }, credentials: "same-origin", signal: ending.signal };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let response;
  let text;
  try {
    response = await fetch(path, options);
    text = await response.text();
  } catch {
    throw new Problem(0, { code: "network" }, 0);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", end);
  }
  let answer = {};
  try {
    answer = text ? JSON.parse(text) : {};
  } catch {
    // A proxy's own page: the status tells enough.
  }
  if (response.ok) return { status: response.status, body: answer };
  const seconds = Number.parseInt(response.headers.get("Retry-After") || "", 10);
  throw new Problem(response.status, answer, Number.isFinite(seconds) ? Math.min(Math.max(seconds, 1), 120) : 0);
}

/** Waits, and tells the remaining whole seconds each second. Rejects when the signal aborts. */
export function pause(milliseconds, { tick, signal } = {}) {
  return new Promise((resolve, reject) => {
    const end = performance.now() + milliseconds;
    let timer = 0;
    const stop = () => {
      clearTimeout(timer);
      reject(new DOMException("stopped", "AbortError"));
    };
    if (signal?.aborted) return stop();
    signal?.addEventListener("abort", stop, { once: true });
    const step = () => {
      const left = end - performance.now();
      if (left <= 0) {
        signal?.removeEventListener("abort", stop);
        resolve();
        return;
      }
      tick?.(Math.ceil(left / 1000));
      timer = setTimeout(step, Math.min(left, tick ? 250 : left));
    };
    step();
  });
}
