// Drives the example client, which lies beside this file, against the service at argv[2] with the photo at argv[3].
import { readFile } from "node:fs/promises";
import { Lamegan, LameganError } from "./lamegan.js";

const [, , base, path] = process.argv;
const photo = new Blob([await readFile(path)], { type: "image/jpeg" });
const said = {};
const codeOf = (promise) => promise.then(() => "no error", (error) => [error instanceof LameganError, error.code, error.status]);

const lamegan = new Lamegan({ base: `${base}/`, timeoutMs: 240_000 });
const made = await lamegan.enhance(photo, { format: "png" });
said.enhanced = { ...made, image: made.image.type, bytes: [...new Uint8Array(await made.image.slice(0, 4).arrayBuffer())] };
said.facts = await lamegan.enhanceWithFacts(photo, { map: true });
said.assessed = await lamegan.assess(await photo.arrayBuffer());
said.scored = await lamegan.score(made.image, photo, { map: true });

const progress = [];
const text = new TextEncoder().encode("text");
const outcomes = await lamegan.enhanceAll([photo, text, photo], { onProgress: (step) => progress.push(step) });
said.batch = { progress, outcomes: outcomes.map(({ result, error }) => result?.verdict ?? error?.code) };

said.notAPhoto = await codeOf(lamegan.assess(text));
said.unknownModel = await lamegan.enhance(photo, { model: "none" }).catch(({ problem }) => problem);
said.unknownRoute = await codeOf(new Lamegan({ base: `${base}/nowhere` }).assess(photo));
said.nobody = await codeOf(new Lamegan({ base: "http://127.0.0.1:9" }).assess(photo));
said.aborted = await lamegan.assess(photo, { signal: AbortSignal.abort("left the page") }).catch((reason) => reason);
said.silent = await codeOf(
  new Lamegan({ timeoutMs: 1, fetch: (_, { signal }) => new Promise((_, no) => signal.addEventListener("abort", () => no(signal.reason))) }).assess(photo),
);

const proxy = async () => new Response("<html>", { status: 413, headers: { "Content-Type": "text/html" } });
said.proxy = await codeOf(new Lamegan({ base, fetch: proxy }).assess(photo));

let calls = 0;
const full = { type: "x", code: "overloaded", title: "", status: 429, detail: "The queue is full.", request_id: "1", retry_after_s: 0 };
const busy = (times) => async (...request) => {
  const headers = { "Content-Type": "application/problem+json", "Retry-After": "0" };
  return (calls += 1) > times ? fetch(...request) : new Response(JSON.stringify(full), { status: 429, headers });
};
said.secondAttempt = (await new Lamegan({ base, fetch: busy(2) }).assess(photo)).verdict;
said.attempts = [...(await codeOf(new Lamegan({ base, attempts: 1, fetch: busy(9) }).assess(photo))), calls];
console.log(JSON.stringify(said));
