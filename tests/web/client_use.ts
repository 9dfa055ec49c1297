// How the example client may be used, and (each @ts-expect-error) how its types say it may not.
import { Lamegan, LameganError } from "../../docs/examples/lamegan.js";

export async function use(file: File): Promise<string[]> {
  const lamegan = new Lamegan({ base: "https://images.example/lamegan", key: "secret" });
  const { verdict, image } = await lamegan.enhance(file, { format: "png", policy: "withhold" });
  const shown: Blob = verdict === "withheld" ? file : image;
  const outcomes = await lamegan.enhanceAll([file, shown], { onProgress: ({ done, total }) => void (done / total) });
  const { advice, sharpness } = await lamegan.assess(file);
  const { detail, map } = await lamegan.enhanceWithFacts(file, { map: true });
  const { lassim } = await lamegan.score(shown, new Uint8Array(3));
  try {
    await lamegan.assess(file, { signal: new AbortController().signal });
  } catch (error) {
    if (error instanceof LameganError && error.problem) return [error.code, error.problem.title];
  }
  return [
    advice,
    sharpness.words,
    `${lassim}`,
    detail?.box.left.toFixed() ?? "",
    map?.base64 ?? "",
    ...outcomes.map((outcome) => (outcome.error ? outcome.error.code : outcome.result.model)),
  ];
}

export async function misuse(lamegan: Lamegan, file: File): Promise<void> {
  // @ts-expect-error: a path is not a photo
  await lamegan.enhance("throat.jpg");
  // @ts-expect-error: not a format
  await lamegan.enhance(file, { format: "gif" });
  // @ts-expect-error: the option is misspelt
  await lamegan.enhance(file, { qualitty: 90 });
  // @ts-expect-error: not a verdict
  void ((await lamegan.enhance(file)).verdict === "good");
  // @ts-expect-error: there may be no map
  void (await lamegan.score(file, file)).map.base64;
  // @ts-expect-error: a photo that failed has no result
  void (await lamegan.enhanceAll([file]))[0]?.result.image;
}
