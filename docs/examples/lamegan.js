/**
 * A client of the LaMEGAN service in one file, without dependencies: for browsers and for Node 18 and newer.
 *
 * Copy it. The types are in the comments: editors and `tsc --checkJs --strict` read them.
 *
 *     import { Lamegan } from "./lamegan.js";
 *     const lamegan = new Lamegan({ base: "https://images.example/lamegan", key: "..." });
 *     const { image, verdict } = await lamegan.enhance(file);
 */

/** @typedef {"pass" | "constrained" | "withheld"} Verdict */
/** @typedef {"good" | "usable" | "retake"} QualityVerdict */
/** @typedef {"annotate" | "constrain" | "withhold"} Policy */
/** @typedef {Blob | BufferSource} Photo The bytes of an image file; a `File` is a `Blob`. */

/**
 * @typedef {object} Options
 * @property {string} [base] Where the service is, a path included. In a browser, an empty text means this page's folder.
 * @property {string} [key] The key, where the service asks for one.
 * @property {number} [timeoutMs] Longest wait for one attempt; 60 seconds unless set.
 * @property {number} [attempts] How often a request is sent that the service had no room for; 3 unless set.
 * @property {typeof fetch} [fetch] Stands in for the platform's own.
 */

/**
 * @typedef {object} EnhanceOptions
 * @property {"same" | "jpeg" | "png" | "webp"} [format] Format of the image returned.
 * @property {number} [quality] 1 to 100, of JPEG and WebP.
 * @property {Policy} [policy] As strict as the server's, or stricter.
 * @property {string} [model] `name` or `name/version`.
 * @property {AbortSignal} [signal] Ends the request.
 */

/**
 * @typedef {object} Enhanced
 * @property {Blob} image The image, upright and of the size sent.
 * @property {Verdict} verdict `withheld`: the image is the original.
 * @property {number} lassim Structure kept, 1 is all of it.
 * @property {number} lassimWorst The same of the region that changed most.
 * @property {number} blend Share of the original mixed in.
 * @property {{before: number, after: number}} quality The photo's own quality, 0 worst, 1 best.
 * @property {string} model `name/version`; store it with the image.
 * @property {string} modelDigest `sha256=...`; store it with the image.
 * @property {string} requestId Quote it when you ask for help.
 */

/** @typedef {{left: number, top: number, right: number, bottom: number}} Box Pixels; right and bottom are exclusive. */
/** @typedef {{value: number, box: Box}} Region */
/** @typedef {{media_type: string, width: number, height: number, base64: string}} Picture */

/**
 * @typedef {object} Colour
 * @property {number} delta_e_mean
 * @property {number} delta_e_p95
 * @property {number} redder_share
 * @property {number} paler_share
 * @property {number} redness_order
 */

/** @typedef {{value: number, unit: string, score: number, verdict: QualityVerdict, words: string}} Measure */

/**
 * @typedef {object} Quality
 * @property {Measure} sharpness
 * @property {Measure} noise
 * @property {Measure} haze
 * @property {Measure} exposure
 * @property {Measure} glare
 * @property {Measure} content_area
 * @property {Measure} resolution
 * @property {QualityVerdict} verdict
 * @property {string[]} reasons Measures that give this verdict, the worst first.
 * @property {number} score 0 worst, 1 best.
 * @property {string} advice What to do, for whoever takes the photo.
 */

/** @typedef {Quality & {width: number, height: number, request_id: string}} Assessment */

/**
 * @typedef {object} Facts
 * @property {number} lassim
 * @property {Region} worst
 * @property {Colour} colour
 * @property {Verdict} verdict
 * @property {number} blend
 * @property {string[]} missed Thresholds that the model's own result did not meet.
 * @property {Region | null} detail
 * @property {{name: string, version: string, digest: string}} model
 * @property {Picture} image
 * @property {Picture | null} map
 * @property {Picture | null} report
 * @property {{before: Quality, after: Quality}} quality
 * @property {Record<string, number>} timing_ms
 * @property {string} request_id
 */

/**
 * @typedef {object} Score
 * @property {number} lassim
 * @property {Region} worst
 * @property {Colour} colour
 * @property {number} width
 * @property {number} height
 * @property {Picture | null} map
 * @property {string} request_id
 */

/**
 * @typedef {object} Problem A problem document (RFC 9457).
 * @property {string} type
 * @property {string} code
 * @property {string} title
 * @property {number} status
 * @property {string} detail
 * @property {string} request_id
 * @property {unknown} [limit] What was exceeded.
 * @property {unknown} [actual]
 * @property {string} [parameter] The option that is wrong.
 * @property {number} [retry_after_s]
 */

/** @typedef {{done: number, failed: number, total: number}} Progress */
/** @typedef {{result: Enhanced, error?: undefined} | {result?: undefined, error: LameganError}} Outcome */

/** @typedef {{accept: string, body: Blob | FormData, signal: AbortSignal | undefined}} Request */

/** A request that failed. Decide by `code`; `message` is for people. */
export class LameganError extends Error {
  /**
   * @param {string} code The service's code; `no-response` or `unexpected-response` (of a proxy, say) from here.
   * @param {string} message
   * @param {{status?: number, problem?: Problem | undefined, cause?: unknown}} [facts]
   */
  constructor(code, message, { status = 0, problem, cause } = {}) {
    super(message, { cause });
    this.name = "LameganError";
    this.code = code;
    /** The HTTP status; 0 without a response. */
    this.status = status;
    /** The whole problem document, if the service sent one. */
    this.problem = problem;
  }
}

/** A LaMEGAN service. Every method throws a `LameganError`, or the reason of a `signal` that ended it. */
export class Lamegan {
  /** @param {Options} [options] */
  constructor({ base = "http://localhost:8000", key, timeoutMs = 60_000, attempts = 3, fetch: send } = {}) {
    this.base = base.replace(/\/+$/, "");
    this.key = key;
    this.timeoutMs = timeoutMs;
    this.attempts = attempts;
    this.fetch = send ?? globalThis.fetch.bind(globalThis);
  }

  /**
   * Enhance a photo. Read `verdict` before you show the image.
   * @param {Photo} photo
   * @param {EnhanceOptions} [options]
   * @returns {Promise<Enhanced>}
   */
  async enhance(photo, { signal, ...query } = {}) {
    const response = await this._post("enhance", query, { accept: "image/*", body: bytes(photo), signal });
    const header = (/** @type {string} */ name) => response.headers.get(name) ?? "";
    const [, before, after] = /before=([\d.]+), after=([\d.]+)/.exec(header("Quality")) ?? [];
    return {
      image: await response.blob(),
      verdict: /** @type {Verdict} */ (header("LaSSIM-Verdict")),
      lassim: Number(header("LaSSIM")),
      lassimWorst: Number(header("LaSSIM-Worst")),
      blend: Number(header("LaSSIM-Blend")),
      quality: { before: Number(before), after: Number(after) },
      model: header("Model"),
      modelDigest: header("Model-Digest"),
      requestId: header("X-Request-ID"),
    };
  }

  /**
   * Enhance a photo and receive all facts, the image in base64 among them; with `map` the heat map too.
   * @param {Photo} photo
   * @param {EnhanceOptions & {map?: boolean}} [options]
   * @returns {Promise<Facts>}
   */
  async enhanceWithFacts(photo, { signal, ...query } = {}) {
    return json(await this._post("enhance", query, { accept: "application/json", body: bytes(photo), signal }));
  }

  /**
   * Enhance photos, a few at a time; a photo that fails does not stop the others.
   * @param {readonly Photo[]} photos
   * @param {EnhanceOptions & {atOnce?: number, onProgress?: (progress: Progress) => void}} [options]
   * @returns {Promise<Outcome[]>} In the order of `photos`, each with a `result` or an `error`.
   */
  async enhanceAll(photos, { atOnce = 2, onProgress = () => {}, ...options } = {}) {
    const progress = { done: 0, failed: 0, total: photos.length };
    /** @type {Outcome[]} */
    const outcomes = [];
    const waiting = photos.entries();
    const worker = async () => {
      for (const [index, photo] of waiting) {
        try {
          outcomes[index] = { result: await this.enhance(photo, options) };
        } catch (error) {
          if (!(error instanceof LameganError)) throw error;
          outcomes[index] = { error };
          progress.failed += 1;
        }
        progress.done += 1;
        onProgress({ ...progress });
      }
    };
    await Promise.all(Array.from({ length: Math.max(1, atOnce) }, worker));
    return outcomes;
  }

  /**
   * Say whether a photo is fit for use; fast enough for a camera's preview.
   * @param {Photo} photo
   * @param {{signal?: AbortSignal}} [options]
   * @returns {Promise<Assessment>}
   */
  async assess(photo, { signal } = {}) {
    return json(await this._post("assess", {}, { accept: "application/json", body: bytes(photo), signal }));
  }

  /**
   * Compare two images of one size.
   * @param {Photo} output
   * @param {Photo} input
   * @param {{map?: boolean, signal?: AbortSignal}} [options]
   * @returns {Promise<Score>}
   */
  async score(output, input, { signal, ...query } = {}) {
    const body = new FormData();
    body.append("output", bytes(output));
    body.append("input", bytes(input));
    return json(await this._post("score", query, { accept: "application/json", body, signal }));
  }

  /**
   * Send a request, again after a pause where the service had no room for it.
   * @param {string} path
   * @param {Record<string, string | number | boolean | undefined>} query
   * @param {Request} request
   * @returns {Promise<Response>}
   */
  async _post(path, query, request) {
    const options = Object.entries(query).flatMap(([name, value]) => (value === undefined ? [] : [[name, `${value}`]]));
    const url = [`${this.base && `${this.base}/`}${path}`, `${new URLSearchParams(options)}`].filter(Boolean).join("?");
    for (let attempt = 1; ; attempt += 1) {
      const response = await this._send(url, request);
      if (response.ok) return response;
      const error = await errorOf(response);
      if (attempt >= this.attempts || ![429, 503, 504].includes(response.status)) throw error;
      await pause(Number(response.headers.get("Retry-After") ?? 1) * 1000, request.signal);
    }
  }

  /**
   * @param {string} url
   * @param {Request} request
   * @returns {Promise<Response>}
   */
  async _send(url, { accept, body, signal }) {
    signal?.throwIfAborted();
    const ended = new AbortController();
    const end = () => ended.abort(signal?.reason);
    const timer = setTimeout(() => ended.abort(new Error("no response in time")), this.timeoutMs);
    signal?.addEventListener("abort", end);
    const headers = { Accept: accept, ...(this.key ? { Authorization: `Bearer ${this.key}` } : {}) };
    try {
      const response = await this.fetch(url, { method: "POST", headers, body, signal: ended.signal });
      const whole = await response.arrayBuffer(); // so that the time limit holds for the body too
      return new Response(whole, { status: response.status, headers: response.headers });
    } catch (cause) {
      signal?.throwIfAborted();
      throw new LameganError("no-response", `No response: ${cause instanceof Error ? cause.message : cause}`, { cause });
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
    }
  }
}

/**
 * The file's bytes, without a name, and without a type that may be wrong: the service goes by the bytes.
 * @param {Photo} photo
 */
function bytes(photo) {
  return new Blob([photo], { type: "application/octet-stream" });
}

/** @param {Response} response */
async function json(response) {
  try {
    return await response.json();
  } catch (cause) {
    throw new LameganError("unexpected-response", "The response is not JSON.", { status: response.status, cause });
  }
}

/**
 * @param {Response} response
 * @returns {Promise<LameganError>}
 */
async function errorOf(response) {
  const { status } = response;
  if (!response.headers.get("Content-Type")?.startsWith("application/problem+json")) {
    return new LameganError("unexpected-response", `HTTP status ${status}, not from the service itself.`, { status });
  }
  /** @type {Problem} */
  const problem = await json(response);
  return new LameganError(problem.code, problem.detail, { status, problem });
}

/**
 * @param {number} ms
 * @param {AbortSignal} [signal]
 * @returns {Promise<void>}
 */
function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const end = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", end);
      resolve();
    }, ms);
    signal?.addEventListener("abort", end, { once: true });
  });
}
