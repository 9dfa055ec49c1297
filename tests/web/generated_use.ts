// Uses the types that openapi-typescript makes of the service's document, against the service at argv[2].
import createClient from "openapi-fetch";
import type { components, paths } from "./generated.js";
import type { Assessment, Facts, Problem, Score } from "./lamegan.js";

declare const process: { argv: string[] };
declare function require(name: "node:fs"): { readFileSync(path: string): Uint8Array<ArrayBuffer> };

type Schemas = components["schemas"];
type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : false) : false;
const same = <T extends true>(...types: T[]) => types;
// The example client's types are those of the document.
same<Same<Facts, Schemas["EnhanceFacts"]>>(true);
same<Same<Assessment, Schemas["AssessFacts"]>>(true);
same<Same<Score, Schemas["ScoreFacts"]>>(true);
same<Schemas["Problem"] extends Problem ? true : false>(true);

const [, , baseUrl, path] = process.argv as [string, string, string, string];
const photo = new Blob([require("node:fs").readFileSync(path)], { type: "image/jpeg" });
const client = createClient<paths>({ baseUrl });

/** A form, where the document's type is that of its parts: bytes are `string` to openapi-typescript. */
function form<Parts extends Record<string, unknown>>(parts: { [Name in keyof Parts]: Blob }) {
  const body = new FormData();
  for (const [name, part] of Object.entries<Blob>(parts)) body.append(name, part);
  return { body: parts as unknown as Parts, bodySerializer: () => body };
}

type One = { file: string };

async function main() {
  const facts = await client.POST("/enhance", {
    ...form<One>({ file: photo }),
    params: { query: { format: "png", map: true } },
    headers: { Accept: "application/json" },
    parseAs: "json",
  });
  const image = await client.POST("/enhance", { ...form<One>({ file: photo }), parseAs: "blob" });
  const score = await client.POST("/score", form<{ output: string; input: string }>({ output: photo, input: photo }));
  const assessment = await client.POST("/assess", form<One>({ file: photo }));
  const refused = await client.POST("/assess", form<One>({ file: new Blob(["text"]) }));
  const capabilities = await client.GET("/capabilities");
  const enhanced = facts.data as Schemas["EnhanceFacts"];
  const code: string | undefined = refused.error?.code;
  // @ts-expect-error: not a field of the document
  void score.data?.lasim;
  // @ts-expect-error: not an option of the document
  void client.POST("/enhance", { ...form<One>({ file: photo }), params: { query: { format: "gif" } } });
  const said = {
    facts: [enhanced.verdict, enhanced.map?.media_type],
    image: (image.data as unknown as Blob).type,
    score: score.data?.lassim,
    assessment: typeof assessment.data?.sharpness.words,
    code,
    retry: refused.error?.retry_after_s ?? null,
    policy: capabilities.data?.policy.default,
  };
  console.log(JSON.stringify(said));
}

void main();
