// Enlarges both photos at the same place: by wheel, by two fingers, by buttons and by keys.

const LARGEST = 16;
const STEP = 1.5;

const at = (id) => document.getElementById(id);
const stage = at("stage");
const fingers = new Map();
let zoom = 1;
let x = 0; // of the photo's left edge, in pixels of the stage
let y = 0;

const kept = (value, most) => Math.min(0, Math.max(most, value));

function show() {
  x = kept(x, stage.clientWidth * (1 - zoom));
  y = kept(y, stage.clientHeight * (1 - zoom));
  stage.style.setProperty("--zoom", String(zoom));
  stage.style.setProperty("--x", `${x}px`);
  stage.style.setProperty("--y", `${y}px`);
  stage.classList.toggle("near", zoom > 1);
  at("zoom-level").textContent = `${Math.round(100 * zoom)} %`;
  at("zoom-out").disabled = zoom <= 1;
  at("zoom-in").disabled = zoom >= LARGEST;
}

/** Enlarges by `factor`; what is at (`left`, `top`) of the stage stays there. */
function enlarge(factor, left = stage.clientWidth / 2, top = stage.clientHeight / 2) {
  const next = Math.min(LARGEST, Math.max(1, zoom * factor));
  x = left - ((left - x) * next) / zoom;
  y = top - ((top - y) * next) / zoom;
  zoom = next;
  show();
}

function move(right, down) {
  x += right;
  y += down;
  show();
}

/** The whole photo again. */
export function whole() {
  zoom = 1;
  show();
}

const placed = (event) => {
  const box = stage.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
};

stage.addEventListener("wheel", (event) => {
  if (zoom === 1 && event.deltaY > 0) return; // there is nothing to make smaller: the page scrolls
  event.preventDefault();
  enlarge(Math.exp(-event.deltaY / (event.ctrlKey ? 100 : 300)), ...placed(event));
}, { passive: false });

stage.addEventListener("pointerdown", (event) => {
  if (event.target === at("split")) return;
  fingers.set(event.pointerId, placed(event));
});

stage.addEventListener("pointermove", (event) => {
  const from = fingers.get(event.pointerId);
  if (!from) return;
  const to = placed(event);
  const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
  fingers.set(event.pointerId, to);
  if (!other) {
    if (zoom > 1) move(to[0] - from[0], to[1] - from[1]);
    return;
  }
  const apart = (one) => Math.hypot(one[0] - other[0], one[1] - other[1]);
  move((to[0] - from[0]) / 2, (to[1] - from[1]) / 2);
  enlarge(apart(to) / Math.max(1, apart(from)), (to[0] + other[0]) / 2, (to[1] + other[1]) / 2);
});

for (const end of ["pointerup", "pointercancel", "pointerleave"]) {
  stage.addEventListener(end, (event) => fingers.delete(event.pointerId));
}

const KEYS = {
  "+": () => enlarge(STEP), "=": () => enlarge(STEP), "-": () => enlarge(1 / STEP), 0: whole,
};
const ARROWS = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };

// Only while something of the photo has the focus, so that no key is taken from the browser or a screen reader.
at("view").addEventListener("keydown", (event) => {
  const arrow = event.shiftKey && zoom > 1 ? ARROWS[event.key] : undefined;
  if (!arrow && (event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key])) return;
  event.preventDefault();
  if (arrow) move(...arrow);
  else KEYS[event.key]();
});
at("zoom-in").addEventListener("click", () => enlarge(STEP));
at("zoom-out").addEventListener("click", () => enlarge(1 / STEP));
show();
