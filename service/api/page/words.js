// Numbers and codes in plain words. Nothing here touches the page.

const MISSED = {
  lassim: "its structure as a whole",
  worst: "the structure of one place",
  delta_e_mean: "its colours as a whole",
  delta_e_p95: "the colours of some places",
  redder_share: "its redness",
  paler_share: "its redness (paler places)",
  redness_order: "which places are redder than others",
  detail: "the finest detail of one place",
};

const HINTS = {
  "body-too-large": "Send a smaller file, for example a JPEG instead of a PNG.",
  "unsupported-type": "Send a photo as a phone or a camera writes it: JPEG, PNG, HEIC, AVIF, WebP, TIFF and others.",
  "proxy-too-large": "Send a smaller file, or ask the operator to raise the limit of the proxy.",
  "proxy-login": "Load this page again and log in.",
  "proxy-gateway": "It may be restarting. Try again in a moment; if it stays, tell the operator.",
  "undecodable-image": "Take the photo again, or export it again from where it came.",
  "image-dimensions": "Send the photo in another size.",
  "missing-image": "The file is empty. Choose another one.",
  "deadline-exceeded": "It took too long this time. It often works when tried again.",
  "inference-failed": "The service goes on working; try again, or try another photo.",
  overloaded: "Many photos are being enhanced right now.",
  "rate-limited": "Too many photos in a short time.",
  "not-ready": "It is still starting.",
  "audit-unavailable": "Its audit log cannot be written; its operator has to make room.",
  "shutting-down": "It is being restarted.",
  unreadable: "Choose the file again.",
  unreachable: "Look at your connection, then try again.",
};

const AGAIN = new Set(
  ["overloaded", "rate-limited", "not-ready", "shutting-down", "busy", "deadline-exceeded", "inference-failed"].concat(
    ["audit-unavailable", "internal-error", "body-timeout", "unreachable", "unknown", "client-gone", "proxy-gateway"]),
);

export const megabytes = (bytes) => `${(bytes / 2 ** 20).toFixed(bytes < 10 * 2 ** 20 ? 1 : 0)} MB`;
export const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;

/** What may be done about a problem: a hint, whether trying again can help, and after how many seconds. */
export function remedy(problem) {
  const wait = Math.ceil(problem.retry_after_s ?? problem.retry ?? 0);
  return { hint: HINTS[problem.code] ?? "", again: AGAIN.has(problem.code), wait };
}

/** Title, words and tone of a verdict; `judged` is whether the model has limits, `changes` whether the policy mends. */
export function verdictWords({ verdict, blend, missed, lassim, colour }, judged, changes) {
  const untouched = lassim > 0.9995 && colour.delta_e_p95 < 0.5;
  const why = missed.map((name) => MISSED[name] ?? name).join(" and ");
  if (!judged) {
    return { tone: "", title: "Measured, not judged", words: "This model has no limits set. Compare both photos yourself." };
  }
  if (verdict === "pass" && untouched) {
    return { tone: "good", title: "Nothing needed changing", words: "The model left this photo as it was: it found nothing to mend." };
  }
  if (verdict === "pass") {
    return { tone: "good", title: "Structure kept", words: "As far as it can be measured, shapes stayed as they were: every figure below is within this model's limits." };
  }
  if (!changes) {
    return { tone: "bad", title: "Changed too much", words: `The change in ${why} is beyond this model's limits. This service shows it all the same: do not rely on it.` };
  }
  if (verdict === "constrained") {
    return { tone: "warn", title: "Structure kept, enhanced less", words: `Enhanced in full, the photo would have changed too much in ${why}. So ${percent(blend)} of the original was mixed back in, until every limit held.` };
  }
  return { tone: "bad", title: "Not enhanced", words: `Enhancing would have changed too much in ${why}. This is the original, untouched.` };
}

/** Where the middle of a box lies in a photo, as one would say it. */
export function placeWords(box, width, height) {
  const third = (from, to, whole) => Math.min(2, Math.floor((3 * (from + to)) / (2 * whole)));
  const down = ["upper", "", "lower"][third(box.top, box.bottom, height)];
  const across = ["left", "", "right"][third(box.left, box.right, width)];
  return down || across ? [down, across].filter(Boolean).join(" ") : "middle";
}

const QUALITY = {
  sharpness: "Sharpness", noise: "Noise", haze: "Haze", exposure: "Light", glare: "Glare", content_area: "Share of the picture", resolution: "Size",
};

/** The photo's own quality before and after, in words: name, words of the photo sent, words of the result, better or worse. */
export function qualityRows({ before, after }) {
  return Object.entries(QUALITY).map(([name, label]) => ({ label, before: before[name].words, after: after[name].words,
    change: Math.sign(Math.round(20 * (after[name].score - before[name].score))) }));
}

/** The rows of what was measured: label, value, share of the bar, limit on the bar, and a note. */
export function measureRows(facts, floors) {
  const { worst, colour, image, detail } = facts;
  const where = placeWords(worst.box, image.width, image.height);
  const least = (limit, digits) => (limit == null ? "" : `Limit: at least ${limit.toFixed(digits)}.`);
  const most = (limit, say) => (limit == null ? "" : `Limit: at most ${say(limit)}.`);
  return [
    { label: "Structure score", value: facts.lassim.toFixed(3), share: facts.lassim, limit: floors?.lassim,
      note: `LaSSIM: 1 is the same structure; more contrast lowers it too. ${least(floors?.lassim, 3)}` },
    { label: "Most changed place", value: worst.value.toFixed(2), share: worst.value, limit: floors?.worst,
      note: worst.value > 0.995 ? `No place changed in structure. ${least(floors?.worst, 2)}`
        : `In the ${where} of the photo; 1 is unchanged, light and contrast left out. ${least(floors?.worst, 2)}` },
    ...(detail ? [{ label: "Finest detail", value: detail.value.toFixed(2), share: detail.value, limit: floors?.detail,
      note: `Most changed in the ${placeWords(detail.box, image.width, image.height)} of the photo; sharpness and grain of the whole left out. ${least(floors?.detail, 2)}` }] : []),
    { label: "Turned clearly redder", value: percent(colour.redder_share),
      note: `Of the area. ${most(floors?.redder_share, percent)}` },
    { label: "Turned clearly paler", value: percent(colour.paler_share),
      note: `Of the area, where it was red, a change of light left out. ${most(floors?.paler_share, percent)}` },
    { label: "Order of redness", value: colour.redness_order.toFixed(3), share: Math.max(0, colour.redness_order),
      limit: floors?.redness_order,
      note: `1: what was redder than other places still is, a change of light left out. ${least(floors?.redness_order, 3)}` },
    { label: "Colour change", value: `ΔE ${colour.delta_e_mean.toFixed(1)}`,
      note: `On average; about 2 can just be seen. ${most(floors?.delta_e_mean, (limit) => limit.toFixed(1))}` },
  ];
}
