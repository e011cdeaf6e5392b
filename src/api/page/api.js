// The public API, and nothing else. The key lives in this tab only and travels in a header.

const KEY = "layerd-key";

/** An answer that was no success. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** `#key=…` (as `layerd demo` prints it) goes into the tab's memory and out of the address. */
export function takeKey() {
  const found = /[#&]key=([^&]+)/.exec(location.hash);
  if (!found) return;
  sessionStorage.setItem(KEY, decodeURIComponent(found[1]));
  history.replaceState(null, "", location.pathname + location.search);
}

export const setKey = (key) => sessionStorage.setItem(KEY, key);
export const hasKey = () => sessionStorage.getItem(KEY) !== null;

function headers(more) {
  const key = sessionStorage.getItem(KEY);
  return { Accept: "application/json", ...(key ? { "X-API-KEY": key } : {}), ...more };
}

/** Called when a request fails for want of a (better) key. */
export const locked = { tell: () => {} };

/** What is left of this key's minute: 1 is all of it, or no limit. */
let left = 1;

function note(response) {
  const [limit, rest] = ["x-ratelimit-limit", "x-ratelimit-remaining"].map((name) => Number(response.headers.get(name)));
  left = limit > 0 ? rest / limit : 1;
}

/** How long to wait before looking again: longer when little is left, so that what a person presses always gets through. */
export const pace = (ms) => ms * (left > 0.6 ? 1 : left > 0.3 ? 4 : 15);

async function answer(response) {
  note(response);
  const body = await response.json().catch(() => null);
  if (response.status === 401) locked.tell((body && body.message) || "A key is needed.");
  if (!response.ok) throw new Refused(response.status, (body && body.message) || `The host answered with ${response.status}.`);
  return body;
}

const within = (ms) => AbortSignal.timeout(ms);

function lost(error) {
  if (error instanceof Refused) throw error;
  throw new Refused(0, error.name === "TimeoutError" ? "The host did not answer in time." : "The host cannot be reached.");
}

export function get(path, query) {
  const search = query ? `?${new URLSearchParams(query)}` : "";
  return fetch(`/0/${path}${search}`, { headers: headers(), cache: "no-store", signal: within(70000) }).then(answer).catch(lost);
}

export function post(path, body, limit = 70000) {
  return fetch(`/0/${path}`, {
    method: "POST", headers: headers({ "Content-Type": "application/json" }), body: JSON.stringify(body), signal: within(limit),
  }).then(answer).catch(lost);
}

/** A command; resolves to its outcome `{outcome, code, message}` when the printer has shown it. */
export async function act(action, pid, body = {}) {
  const said = await post(`printers/actions/${action}`, { ...body, pid, layerd: { wait: true, ...body.layerd } }, 900000);
  if (!said.status) throw new Refused(200, said.message || "Refused.");
  return said.layerd;
}

/** Something that names one start, so that it is not executed twice. Works without HTTPS too. */
export function startId() {
  const random = crypto.getRandomValues(new Uint8Array(16));
  return "page-" + Array.from(random, (b) => b.toString(16).padStart(2, "0")).join("");
}

/** All printers, page by page. */
export async function printers() {
  const all = [];
  for (let page = 1; page <= 40; page++) {
    const said = await get("printers/Get", { page, page_size: 25 });
    all.push(...said.data);
    if (page >= said.page_amount) break;
  }
  return all;
}

/** A picture of the camera, as an address for an image. */
export async function picture(pid) {
  const response = await fetch(`/0/printers/GetPicture?pid=${pid}&live=1`, { headers: { ...headers(), Accept: "*/*" }, signal: within(30000) }).catch(lost);
  if (!response.ok) await answer(response);
  note(response);
  return URL.createObjectURL(await response.blob());
}

/** Bytes of one part; the API takes up to 100 MB in a request. */
const PART = 48 << 20;

/** Uploads a file in parts; resolves to what is known of it. `stop.now` ends it. */
export async function upload(file, tell, stop) {
  let token = null;
  for (let from = 0; ; from += PART) {
    const part = file.slice(from, from + PART);
    const form = new FormData();
    form.append("totalSize", String(file.size));
    if (token) form.append("continueToken", token);
    form.append("file", part, file.name);
    const said = await send(form, (sent) => tell(Math.min(1, (from + sent) / file.size)), stop);
    if (!said.status) throw new Refused(200, said.message);
    if (said.file) return said.file;
    token = said.continueToken;
    if (from + PART >= file.size) throw new Refused(0, "The host wants more of the file than there is.");
  }
}

// fetch cannot tell how much of a body has gone.
function send(form, tell, stop) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/0/files/Upload");
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.responseType = "json";
    request.upload.onprogress = (e) => tell(e.loaded);
    request.onload = () => {
      const body = request.response || {};
      if (request.status === 401) locked.tell(body.message);
      if (request.status >= 400) reject(new Refused(request.status, body.message || `The host answered with ${request.status}.`));
      else resolve(body);
    };
    request.onerror = () => reject(new Refused(0, "The upload broke off: the host cannot be reached."));
    request.onabort = () => reject(new Refused(0, "The upload was stopped."));
    stop.now = () => request.abort();
    request.send(form);
  });
}

const REST = [1000, 2000, 4000, 8000, 15000];
const pause = (ms) => new Promise((r) => setTimeout(r, ms));

/** Follows all printers for ever: the whole list first, then every change as it comes. */
export async function follow({ all, one, gone, live, lost: tellLost }) {
  for (let failed = 0; ; ) {
    try {
      const stream = await fetch("/events", { headers: { ...headers(), Accept: "text/event-stream" }, cache: "no-store" });
      if (!stream.ok) await answer(stream);
      all(await printers());
      live();
      failed = 0;
      await read(stream.body, (event, data) => {
        if (event === "printer") one(data);
        else if (event === "gone") gone(data);
        live();
      });
    } catch (error) {
      if (error.status === 403) locked.tell(error.message);
      if (error.status === 401 || error.status === 403) return;
    }
    tellLost();
    await pause(REST[Math.min(failed++, REST.length - 1)]);
  }
}

/** Longest time without a word; the host sends one every few seconds. */
const SILENCE = 45000;

async function read(body, tell) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", timer;
  const quiet = () => { clearTimeout(timer); timer = setTimeout(() => reader.cancel(), SILENCE); };
  quiet();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      quiet();
      rest += value;
      let end;
      while ((end = rest.search(/\r?\n\r?\n/)) >= 0) {
        const block = rest.slice(0, end);
        rest = rest.slice(end).replace(/^\r?\n\r?\n/, "");
        let event = "message";
        const data = [];
        for (const line of block.split(/\r?\n/)) {
          if (line.startsWith("event:")) event = line.slice(6).trim();
          else if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
        }
        if (data.length) tell(event, JSON.parse(data.join("\n")));
      }
    }
  } finally {
    clearTimeout(timer);
  }
}
