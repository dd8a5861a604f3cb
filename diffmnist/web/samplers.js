// The samplers of the course, as in diffmnist/ddim.py, dpm_solver.py, flow_matching.py, average_velocity.py and
// editing.py. Samples are flat Float32Arrays, a batch one after
// another; a predictor is an async function f(x, t) -> like x, all rows at one time t. A sampler is an async generator of steps {t, x, x0, eps}:
// x at the time t that it has reached, and the predictions of x0 and of the noise that led there.

// a x + b y, element by element
export const combine = (a, x, b, y) => x.map((v, i) => a * v + b * y[i]);
const clamped = (x) => x.map((v) => Math.min(1, Math.max(-1, v)));

// ---- Noise: a generator of 32 bits (mulberry32), and normal numbers by Box and Muller

export function generator(seed) {
  let a = (seed ^ 0x9e3779b9) >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let z = Math.imul(a ^ (a >>> 15), a | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function normal(random, n) {
  return Float32Array.from({ length: n }, () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random()));
}

// from one noise to another along a great circle: mixtures are about as long, and so about as likely, as the ends
export function slerp(x, y, part) {
  const dot = (u, v) => u.reduce((sum, value, i) => sum + value * v[i], 0);
  const angle = Math.acos(Math.min(1, Math.max(-1, dot(x, y) / Math.sqrt(dot(x, x) * dot(y, y)))));
  if (angle < 1e-6) return x.slice();
  return combine(Math.sin((1 - part) * angle) / Math.sin(angle), x, Math.sin(part * angle) / Math.sin(angle), y);
}

// ---- Schedules: x_t = alpha[t] x0 + sigma[t] eps, t = 0 (data) .. T (noise)

const schedule = (alpha, sigma) => ({ alpha, sigma, T: alpha.length - 1 });

// Nichol & Dhariwal 2021, Eq. 17
export function cosineSchedule(T = 1000, s = 0.008) {
  const f = (t) => Math.cos(((t / T + s) / (1 + s)) * (Math.PI / 2)) ** 2;
  const alphaBar = [1];
  for (let t = 1; t <= T; t++) alphaBar.push(alphaBar[t - 1] * (1 - Math.min(0.999, 1 - f(t) / f(t - 1))));
  return schedule(alphaBar.map(Math.sqrt), alphaBar.map((v) => Math.sqrt(1 - v)));
}

// Liu et al. 2023: x_t = (1 - t/T) x0 + t/T eps
export function linearPath(T = 1000) {
  const sigma = Array.from({ length: T + 1 }, (_, t) => t / T);
  return schedule(sigma.map((v) => 1 - v), sigma);
}

// up to the last time with some signal left: at the very end eps does not determine x0
export function truncate(sched, alphaMin = 0.03) {
  const n = sched.alpha.filter((v) => v >= alphaMin).length;
  return schedule(sched.alpha.slice(0, n), sched.sigma.slice(0, n));
}

// alpha and sigma at a time, between whole numbers interpolated
function at({ alpha, sigma, T }, t) {
  const lo = Math.floor(t), hi = Math.min(lo + 1, T);
  return [alpha, sigma].map((c) => c[lo] + (t - lo) * (c[hi] - c[lo]));
}

// n + 1 whole times from start down to 0; halves to even numbers, as Python rounds
export function grid(n, start) {
  const round = (v) => (v % 1 === 0.5 ? 2 * Math.round(v / 2) : Math.round(v));
  return Array.from({ length: n + 1 }, (_, i) => round((start * (n - i)) / n));
}

export const addNoise = (x0, t, eps, sched) => combine(at(sched, t)[0], x0, at(sched, t)[1], eps);

// ---- Guidance: one network evaluation of a doubled batch, with the class and without it (Ho & Salimans 2022)

export const NULL = 10; // the null token

// net(x, t, labels) -> like x, for any number of rows; labels: one for each row
export function guided(net, labels, w) {
  const dropped = labels.map(() => NULL);
  if (w === 1) return (x, t) => net(x, t, labels);
  if (w === 0) return (x, t) => net(x, t, dropped);
  return async (x, t) => {
    const twice = new Float32Array(2 * x.length);
    twice.set(x);
    twice.set(x, x.length);
    const out = await net(twice, t, [...labels, ...dropped]);
    return combine(w, out.subarray(0, x.length), 1 - w, out.subarray(x.length));
  };
}

// ---- Samplers that need eps predicted

function predicted(x, eps, alpha, sigma, clip) {
  const x0 = combine(1 / alpha, x, -sigma / alpha, eps);
  return clip ? clamped(x0) : x0;
}

// how much fresh noise a step from t to s takes, as a standard deviation, and how much it keeps of the old
function noises(alphaT, sigmaT, alphaS, sigmaS, eta) {
  const ratio = alphaT / alphaS;
  const fresh = (eta * sigmaS * Math.sqrt(Math.max(0, sigmaT ** 2 - (ratio * sigmaS) ** 2))) / sigmaT;
  return [fresh, Math.sqrt(Math.max(0, sigmaS ** 2 - fresh ** 2))];
}

// the common part of both: they differ in the x0 towards which they go
async function* towards(f, x, sched, direction, { n, start = sched.T, eta = 0, clip = false, random }) {
  const times = grid(n, start), pairs = times.map((t) => at(sched, t));
  let before = null;
  for (let i = 0; i < n; i++) {
    const [alphaT, sigmaT] = pairs[i], [alphaS, sigmaS] = pairs[i + 1];
    const x0 = predicted(x, await f(x, times[i]), alphaT, sigmaT, clip);
    const eps = combine(1 / sigmaT, x, -alphaT / sigmaT, x0);
    const [fresh, kept] = noises(alphaT, sigmaT, alphaS, sigmaS, eta);
    const goal = direction(x0, before, pairs, i);
    x = combine(alphaS - (kept * alphaT) / sigmaT, goal, kept / sigmaT, x);
    if (fresh) x = combine(1, x, fresh, normal(random, x.length));
    before = x0;
    yield { t: times[i + 1], x, x0, eps };
  }
}

// Song, Meng & Ermon 2021, Eqs. 12 and 16
export const ddim = (f, x, sched, options) => towards(f, x, sched, (x0) => x0, options);

// DPM-Solver++(2M), Lu et al. 2022b, Algorithm 2: x0 extrapolated from the last two predictions
export function dpmSolver(f, x, sched, options) {
  const step = (pairs, i) => Math.log((pairs[i + 1][0] * pairs[i][1]) / (pairs[i + 1][1] * pairs[i][0])); // in log(alpha / sigma)
  return towards(f, x, sched, (x0, before, pairs, i) => {
    if (!before || i === pairs.length - 2) return x0;
    const half = step(pairs, i) / step(pairs, i - 1) / 2;
    return combine(1 + half, x0, -half, before);
  }, options);
}

// Lugmayr et al. 2022, without resampling: ancestral sampling that replaces the known pixels (mask 1) after every step
export async function* inpaint(f, x, sched, { n, known, mask, clip = false, random }) {
  const times = grid(n, sched.T), pairs = times.map((t) => at(sched, t));
  for (let i = 0; i < n; i++) {
    const [alphaT, sigmaT] = pairs[i], [alphaS, sigmaS] = pairs[i + 1];
    const x0 = predicted(x, await f(x, times[i]), alphaT, sigmaT, clip);
    const eps = combine(1 / sigmaT, x, -alphaT / sigmaT, x0);
    const [fresh, kept] = noises(alphaT, sigmaT, alphaS, sigmaS, 1), xi = normal(random, x.length);
    x = x.map((_, j) => (mask[j] ? alphaS * known[j] + sigmaS * xi[j] : alphaS * x0[j] + kept * eps[j] + fresh * xi[j]));
    yield { t: times[i + 1], x, x0, eps };
  }
}

// ---- Samplers that need the velocity predicted: solvers of dx/dt = v on the linear path

async function* solve(f, x, sched, velocity, { n, start = sched.T }) {
  const times = grid(n, start);
  for (let i = 0; i < n; i++) {
    const t = times[i], s = times[i + 1];
    const [v, first] = await velocity(f, x, t, s, sched.T);
    const eps = combine(1, x, 1 - t / sched.T, first); // x_t = x0 + t/T v, and eps = x0 + v: at the beginning of the step
    x = combine(1, x, (s - t) / sched.T, v);
    yield { t: s, x, x0: combine(1, x, -s / sched.T, v), eps };
  }
}

const beginning = async (f, x, t) => [await f(x, t)].flatMap((v) => [v, v]);

async function middle(f, x, t, s, T) {
  const first = await f(x, t);
  return [await f(combine(1, x, (s - t) / 2 / T, first), (t + s) / 2), first];
}

export const euler = (f, x, sched, options) => solve(f, x, sched, beginning, options);
export const midpoint = (f, x, sched, options) => solve(f, x, sched, middle, options);

// ---- Samplers that need the average velocity down to t = 0 predicted

// Song et al. 2023, Algorithm 1: to the data at once, then back up to the next time with fresh noise
export async function* multistepConsistency(f, x, sched, { n, random }) {
  const times = grid(n, sched.T);
  for (let i = 0; i < n; i++) {
    const x0 = combine(1, x, -times[i] / sched.T, await f(x, times[i]));
    x = times[i + 1] ? addNoise(x0, times[i + 1], normal(random, x.length), sched) : x0;
    yield { t: times[i + 1], x, x0 };
  }
}

export const SAMPLERS = { ddim, dpm_solver: dpmSolver, euler, midpoint };
