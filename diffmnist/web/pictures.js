// From numbers to canvases, and from pointers to a drawing of 28 x 28 numbers.
const SIZE = 28;

function paint(canvas, width, height, colour) {
  const picture = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) picture.data.set([...colour(i), 255], 4 * i);
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

const grey = (v) => Array(3).fill(Math.round((Math.min(1, Math.max(-1, v)) + 1) * 127.5));

export const show = (canvas, x) => paint(canvas, SIZE, SIZE, (i) => grey(x[i]));

// digits in rows, one pixel between two
export function showGrid(canvas, x, columns, gap = 1) {
  const rows = x.length / SIZE ** 2 / columns, pitch = SIZE + gap, width = columns * pitch - gap;
  paint(canvas, width, rows * pitch - gap, (i) => {
    const row = Math.floor(i / width), col = i % width, inside = row % pitch < SIZE && col % pitch < SIZE;
    const digit = Math.floor(row / pitch) * columns + Math.floor(col / pitch);
    return inside ? grey(x[digit * SIZE ** 2 + (row % pitch) * SIZE + (col % pitch)]) : [96, 96, 96];
  });
}

// numbers of both signs: orange above zero, blue below, black at zero; two channels of 4 x 4 lie side by side
export function showSigned(canvas, x) {
  const most = Math.max(...x.map(Math.abs), 1e-9);
  const colour = (v) => (v > 0 ? [240, 136, 62] : [74, 144, 226]).map((c) => Math.round(c * Math.sqrt(Math.abs(v) / most)));
  if (x.length === SIZE ** 2) return paint(canvas, SIZE, SIZE, (i) => colour(x[i]));
  paint(canvas, SIZE, SIZE, (i) => {
    const row = Math.floor(i / SIZE) - 8, col = (i % SIZE) - 1, channel = Math.floor(col / 14), inner = col - 14 * channel;
    return row < 0 || row > 11 || col < 0 || channel > 1 || inner > 11 ? [0, 0, 0] : colour(x[16 * channel + 4 * Math.floor(row / 3) + Math.floor(inner / 3)]);
  });
}

// what is hidden is tinted
export function showMasked(canvas, x, mask) {
  paint(canvas, SIZE, SIZE, (i) => {
    if (mask[i]) return grey(x[i]);
    return (Math.floor(i / SIZE) + (i % SIZE)) % 4 < 2 ? [44, 84, 88] : [34, 66, 70];
  });
}

// A pad to draw on: strokes of mouse, finger, pen or keyboard, as line segments in units of pixels, go to stroke(x0, y0, x1, y1); done() after each.
export function makePad(canvas, stroke, done) {
  let last = null;
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * SIZE, ((event.clientY - box.top) / box.height) * SIZE];
  };
  const move = (to) => {
    stroke(...(last ?? to), ...to);
    last = to;
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    move(place(event));
  });
  canvas.addEventListener("pointermove", (event) => {
    if (last) for (const e of event.getCoalescedEvents?.().length ? event.getCoalescedEvents() : [event]) move(place(e));
  });
  for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, () => last && done((last = null)));

  const cursor = { x: 14, y: 14, down: false };
  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  canvas.addEventListener("keydown", (event) => {
    const before = [cursor.x, cursor.y], arrow = arrows[event.key];
    if (!arrow && event.key !== " ") return;
    event.preventDefault();
    if (arrow) [cursor.x, cursor.y] = before.map((v, k) => Math.min(26, Math.max(2, v + arrow[k])));
    else cursor.down = !cursor.down;
    if (cursor.down) stroke(...before, cursor.x, cursor.y);
    done();
  });
  canvas.addEventListener("blur", () => {
    cursor.down = false;
    done();
  });
  return () => (document.activeElement === canvas && canvas.matches(":focus-visible") ? cursor : null);
}

// how far each pixel's middle lies from a segment: change(i, distance) for those nearer than a radius
export function nearSegment(x0, y0, x1, y1, radius, change) {
  const dx = x1 - x0, dy = y1 - y0, length = dx * dx + dy * dy;
  for (let i = 0; i < SIZE ** 2; i++) {
    const x = (i % SIZE) + 0.5 - x0, y = Math.floor(i / SIZE) + 0.5 - y0;
    const part = length ? Math.min(1, Math.max(0, (x * dx + y * dy) / length)) : 0;
    const distance = Math.hypot(x - part * dx, y - part * dy);
    if (distance < radius) change(i, distance);
  }
}
