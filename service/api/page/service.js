// The service as the page calls it: its capabilities, and one photo enhanced. Failures are thrown as Problem.

const KEY = "lamegan-key";
const ROOT = new URL("../", import.meta.url); // of the service, whatever path a proxy shows it below

export class Problem extends Error {
  constructor(document) {
    super(document.title);
    Object.assign(this, { detail: "", code: "unknown", facts: {}, ...document });
  }
}

let kept = null; // where the browser lets a page store nothing

/** `act` on this tab's storage, or `instead` where there is none. */
function stored(act, instead) {
  try {
    return act(sessionStorage);
  } catch {
    return instead();
  }
}

export const key = {
  get: () => stored((tab) => tab.getItem(KEY), () => kept),
  set: (value) => stored((tab) => tab.setItem(KEY, value), () => { kept = value; }),
  forget: () => stored((tab) => tab.removeItem(KEY), () => { kept = null; }),
};

export const capabilities = () => call("capabilities", {});

/** The JSON answer for `file`; `query` holds options of POST /enhance, `sent` is told the share that was uploaded. */
export async function enhance(file, query, signal, sent = () => {}) {
  const answer = await upload(new URL(`enhance?${new URLSearchParams(query)}`, ROOT), file, signal, sent);
  if (!answer.ok) throw new Problem(await problemOf(answer));
  return jsonOf(answer);
}

/** POSTs `file` and answers a Response. Not by fetch, which does not tell how much of a body is sent. */
function upload(url, file, signal, sent) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", url);
    request.responseType = "blob";
    request.setRequestHeader("accept", "application/json");
    // The bytes decide what the file is: names and types that a browser guesses from them are often wrong.
    request.setRequestHeader("content-type", "application/octet-stream");
    if (key.get()) request.setRequestHeader("authorization", `Bearer ${key.get()}`);
    request.upload.addEventListener("progress", (event) => { if (event.lengthComputable) sent(event.loaded / event.total); });
    request.upload.addEventListener("load", () => sent(1));
    request.addEventListener("error", () => reject(unreachable()));
    request.addEventListener("abort", () => reject(new DOMException("", "AbortError")));
    request.addEventListener("load", () => {
      const headers = new Headers();
      for (const name of ["content-type", "retry-after"]) {
        if (request.getResponseHeader(name)) headers.set(name, request.getResponseHeader(name));
      }
      resolve(new Response(request.response, { status: request.status, headers }));
    });
    signal?.addEventListener("abort", () => request.abort());
    if (signal?.aborted) reject(new DOMException("", "AbortError"));
    else request.send(file);
  });
}

const unreachable = () => new Problem({ code: "unreachable", title: "The service cannot be reached", detail: "No answer came." });

/** The JSON of a good answer; anything else with a good status is not the service's: a login page in front of it. */
async function jsonOf(response) {
  if (/json/.test(response.headers.get("content-type") ?? "")) return response.json();
  throw new Problem(ELSEWHERE.login);
}

async function call(path, options) {
  const headers = { accept: "application/json", ...options.headers };
  if (key.get()) headers.authorization = `Bearer ${key.get()}`;
  let response;
  try {
    response = await fetch(new URL(path, ROOT), { ...options, headers, cache: "no-store" });
    if (response.ok) return await jsonOf(response);
  } catch (error) {
    if (error.name === "AbortError" || error instanceof Problem) throw error;
    throw unreachable();
  }
  throw new Problem(await problemOf(response));
}

/** What stands between this page and the service, by the status that it answers with. */
const ELSEWHERE = {
  413: { code: "proxy-too-large", title: "The photo is too large for a server on the way",
    detail: "A proxy in front of the service refused it, not the service." },
  login: { code: "proxy-login", title: "A login is in the way",
    detail: "A server in front of the service answered with a page of its own." },
  gateway: { code: "proxy-gateway", title: "The service cannot be reached behind its proxy",
    detail: "A server on the way is there, but the service behind it does not answer." },
};
const BY_STATUS = { 401: "login", 403: "login", 407: "login", 413: 413, 502: "gateway", 503: "gateway", 504: "gateway" };

async function problemOf(response) {
  const retry = Number(response.headers.get("retry-after")) || undefined;
  const known = { code: "unknown", title: "The service could not do this", detail: `It answered ${response.status}.` };
  try {
    return { retry, ...known, ...(await response.json()) };
  } catch { // not the service's own words, so not the service's answer
    return { retry, ...known, ...ELSEWHERE[BY_STATUS[response.status]] };
  }
}

/** The image in a JSON answer, as a Blob. */
export function blobOf(picture) {
  const letters = atob(picture.base64);
  const bytes = new Uint8Array(letters.length);
  for (let index = 0; index < letters.length; index += 1) bytes[index] = letters.charCodeAt(index); // tens of times faster than Uint8Array.from
  return new Blob([bytes], { type: picture.media_type });
}
