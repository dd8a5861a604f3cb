// The shipped networks. Each is a graph (nets/NAME.onnx: the program) and one or two weight files (weights/NAME.safetensors: the numbers), both fetched
// when first used; ONNX Runtime runs them in WebAssembly, on this machine.
import * as ort from "./ort/ort.wasm.min.mjs";
import { cosineSchedule, linearPath, truncate } from "./samplers.js";

ort.env.wasm.wasmPaths = new URL("ort/", import.meta.url).href;
ort.env.wasm.numThreads = 1; // the tensors are small: handing them between threads takes longer than the work
ort.env.logLevel = "error";

const fetched = async (path) => {
  const response = await fetch(new URL(path, import.meta.url));
  if (!response.ok) throw new Error(`${path} is missing (${response.status}).`);
  return response;
};

// call a function of one name once, and remember its promise
const once = (make) => {
  const made = new Map();
  return (name) => made.get(name) ?? made.set(name, make(name)).get(name);
};

export const facts = fetched("nets/nets.json").then((response) => response.json());

// the tensors of a safetensors file: what follows the eight bytes of a length and a header of that length
const weights = once(async (name) => {
  const file = await (await fetched(`weights/${name}.safetensors`)).arrayBuffer();
  return new Uint8Array(file, 8 + Number(new DataView(file).getBigUint64(0, true)));
});

const session = once(async (name) => {
  const files = (await facts)[name].weights;
  const [graph, ...data] = await Promise.all([fetched(`nets/${name}.onnx`).then((response) => response.arrayBuffer()), ...files.map(weights)]);
  const externalData = files.map((path, i) => ({ path, data: data[i] }));
  return ort.InferenceSession.create(graph, { externalData, executionProviders: ["wasm"], logSeverityLevel: 3 });
});

// ONNX Runtime computes one request at a time
let queue = Promise.resolve();
function run(name, inputs) {
  const result = queue.then(async () => (await (await session(name)).run(inputs)).out.data);
  queue = result.catch(() => {});
  return result;
}

const tensor = (x, shape) => new ort.Tensor("float32", x, [x.length / shape.reduce((a, b) => a * b, 1), ...shape]);
const IMAGE = [1, 28, 28], LATENT = [2, 4, 4];

export const encode = (x) => run("encoder", { x: tensor(x, IMAGE) });
export const decode = (z) => run("decoder", { z: tensor(z, LATENT) });

// probabilities of the ten classes, of each digit
export async function classify(x) {
  const logits = await run("classifier", { x: tensor(x, IMAGE) });
  return Array.from({ length: logits.length / 10 }, (_, i) => {
    const row = Array.from(logits.slice(10 * i, 10 * i + 10), (v) => Math.exp(v - Math.max(...logits.slice(10 * i, 10 * i + 10))));
    return row.map((v) => v / row.reduce((a, b) => a + b));
  });
}

// a model: net(x, t, labels, {edges, s, w}) -> prediction, its schedule, its shape, and how its samples become pixels; edges are a ControlNet's, s and w
// (the end of a step and the guidance scale) those of a network of average velocities
export const model = once(async (name) => {
  const { shape, predicts, T, clip } = (await facts)[name];
  await Promise.all([session(name), ...(shape[0] === 2 ? [session("decoder")] : [])]);
  const net = (x, t, labels, { edges, ...numbers } = {}) => {
    const x_t = tensor(x, shape), rows = x_t.dims[0], inputs = { x_t };
    for (const [key, value] of Object.entries({ t, ...numbers })) inputs[key] = tensor(new Float32Array(rows).fill(value), []);
    if (labels) inputs.y = new ort.Tensor("int64", BigInt64Array.from(labels, BigInt), [rows]);
    if (edges) inputs.edges = tensor(Float32Array.from({ length: rows * 784 }, (_, i) => edges[i % 784]), IMAGE);
    return run(name, inputs);
  };
  const sched = predicts === "eps" ? truncate(cosineSchedule(T)) : linearPath(T);
  return { name, net, sched, shape, clip, predicts, size: shape.reduce((a, b) => a * b), toPixels: shape[0] === 2 ? decode : async (x) => x };
});
