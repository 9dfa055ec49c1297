// The service as the page calls it: its capabilities, and one photo enhanced. Failures are thrown as Problem.

const KEY = "lamegan-key";

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

export const capabilities = () => call("/capabilities", {});

/** The JSON answer for `file`; `query` holds options of POST /enhance. */
export function enhance(file, query, signal) {
  // The bytes decide what the file is: names and types that a browser guesses from them are often wrong.
  const headers = { "content-type": "application/octet-stream" };
  return call(`/enhance?${new URLSearchParams(query)}`, { method: "POST", body: file, headers, signal });
}

async function call(path, options) {
  const headers = { accept: "application/json", ...options.headers };
  if (key.get()) headers.authorization = `Bearer ${key.get()}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers, cache: "no-store" });
    if (response.ok) return await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ code: "unreachable", title: "The service cannot be reached", detail: "No answer came." });
  }
  throw new Problem(await problemOf(response));
}

async function problemOf(response) {
  const retry = Number(response.headers.get("retry-after")) || undefined;
  const known = { code: "unknown", title: "The service could not do this", detail: `It answered ${response.status}.` };
  try {
    return { retry, ...known, ...(await response.json()) };
  } catch {
    return { retry, ...known };
  }
}

/** The image in a JSON answer, as a Blob. */
export function blobOf(picture) {
  const letters = atob(picture.base64);
  const bytes = new Uint8Array(letters.length);
  for (let index = 0; index < letters.length; index += 1) bytes[index] = letters.charCodeAt(index); // tens of times faster than Uint8Array.from
  return new Blob([bytes], { type: picture.media_type });
}
