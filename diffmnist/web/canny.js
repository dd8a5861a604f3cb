// Canny's edges, one pixel wide, exactly as OpenCV finds them and the ControlNet was trained: Sobel, the strongest across the edge, two thresholds.
const SIZE = 28;

// x: 784 values in [-1, 1] -> 784 values, 1 on an edge, else -1
export function canny(x, low = 100, high = 200) {
  const grey = Array.from(x, (v) => Math.round((Math.min(1, Math.max(-1, v)) + 1) * 127.5));
  const clamp = (i) => Math.min(SIZE - 1, Math.max(0, i)); // the border is repeated
  const g = (row, col) => grey[clamp(row) * SIZE + clamp(col)];
  const dx = [], dy = [], size = [];
  for (let row = 0; row < SIZE; row++) {
    for (let col = 0; col < SIZE; col++) {
      const h = (r) => g(r, col + 1) - g(r, col - 1), v = (c) => g(row + 1, c) - g(row - 1, c);
      dx.push(h(row - 1) + 2 * h(row) + h(row + 1));
      dy.push(v(col - 1) + 2 * v(col) + v(col + 1));
      size.push(Math.abs(dx.at(-1)) + Math.abs(dy.at(-1)));
    }
  }
  const at = (row, col) => (row < 0 || col < 0 || row >= SIZE || col >= SIZE ? 0 : size[row * SIZE + col]);

  // is the gradient here larger than on both sides, in its own direction?
  function largest(row, col) {
    const i = row * SIZE + col, m = size[i], ax = Math.abs(dx[i]), ay = Math.abs(dy[i]) * 2 ** 15, flat = ax * 13573; // tan(22.5 degrees) * 2**15
    if (ay < flat) return m > at(row, col - 1) && m >= at(row, col + 1);
    if (ay > flat + ax * 2 ** 16) return m > at(row - 1, col) && m >= at(row + 1, col);
    const s = (dx[i] ^ dy[i]) < 0 ? -1 : 1;
    return m > at(row - 1, col - s) && m > at(row + 1, col + s);
  }

  const edges = new Float32Array(SIZE * SIZE).fill(-1), weak = size.map((m, i) => m > low && largest(Math.floor(i / SIZE), i % SIZE));
  const reached = [...size.keys()].filter((i) => weak[i] && size[i] > high);
  while (reached.length) { // weak edges that touch strong ones
    const i = reached.pop(), row = Math.floor(i / SIZE), col = i % SIZE;
    if (edges[i] === 1) continue;
    edges[i] = 1;
    for (let r = Math.max(0, row - 1); r <= Math.min(SIZE - 1, row + 1); r++)
      for (let c = Math.max(0, col - 1); c <= Math.min(SIZE - 1, col + 1); c++) if (weak[r * SIZE + c]) reached.push(r * SIZE + c);
  }
  return edges;
}
