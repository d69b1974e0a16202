// Builds the editor: `npm ci && node build.mjs`, or `node build.mjs --out DIR` elsewhere.
// Writes assets/*.js, THIRD_PARTY.txt (from what really went in) and build.json, which
// lets a machine without node see whether the built files belong to these sources.

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";

const HERE = dirname(fileURLToPath(import.meta.url));
const INPUTS = ["build.mjs", "licences/niivue.txt", "package.json", "package-lock.json"];

// NiiVue reads Zarr stores too, by codecs that are larger than all the rest; the editor never does.
const withoutZarr = {
  name: "without zarr",
  setup(hooks) {
    hooks.onResolve({ filter: /^zarrita$/ }, () => ({ path: "zarrita", namespace: "left-out" }));
    hooks.onLoad({ filter: /.*/, namespace: "left-out" }, () => ({ contents: "module.exports = {};" }));
  },
};

// NiiVue makes a gradient texture of every volume it loads and of every change of the window; only
// its 3D rendering reads it, which the editor does not use. In software it takes seconds.
const GRADIENT = "function gradientGL(params) {";
const withoutGradient = {
  name: "without gradient",
  setup(hooks) {
    hooks.onLoad({ filter: /@niivue[\\/]niivue[\\/]build[\\/]niivue[\\/]index\.js$/ }, ({ path }) => {
      const source = readFileSync(path, "utf8");
      if (source.split(GRADIENT).length !== 2) {
        throw new Error("NiiVue's gradientGL must stand in its source once: look at the new version");
      }
      const skipped = `${GRADIENT} return params.gradientTexture; }\nfunction unusedGradientGL(params) {`;
      return { contents: source.replace(GRADIENT, skipped), loader: "js" };
    });
  },
};

async function main() {
  const outIndex = process.argv.indexOf("--out");
  const out = outIndex > 0 ? resolve(process.argv[outIndex + 1]) : resolve(HERE, "..");
  const result = await build({
    entryPoints: [join(HERE, "src/index.js")],
    absWorkingDir: HERE,
    bundle: true,
    splitting: true,
    format: "esm",
    minify: true,
    target: "es2022",
    legalComments: "none",
    metafile: true,
    write: false,
    outdir: "out",
    entryNames: "index-[hash]",
    chunkNames: "[name]-[hash]",
    plugins: [withoutZarr, withoutGradient],
    logLevel: "warning",
  });
  writeAll(out, result);
}

function writeAll(out, { outputFiles, metafile }) {
  const assets = join(out, "assets");
  rmSync(assets, { recursive: true, force: true });
  mkdirSync(assets, { recursive: true });
  const built = {};
  for (const { path, contents } of outputFiles) {
    built[basename(path)] = sha256(contents);
    writeFileSync(join(assets, basename(path)), contents);
    process.stdout.write(`${basename(path)}: ${contents.length} bytes\n`);
  }
  writeFileSync(join(out, "THIRD_PARTY.txt"), thirdParty(metafile));
  const sources = [...INPUTS, ...readdirSync(join(HERE, "src")).sort().map((name) => `src/${name}`)];
  const record = {
    entry: Object.keys(built).find((name) => name.startsWith("index-")),
    assets: built,
    third_party_sha256: sha256(readFileSync(join(out, "THIRD_PARTY.txt"))),
    sources: Object.fromEntries(sources.map((name) => [name, sha256(readFileSync(join(HERE, name)))])),
  };
  writeFileSync(join(out, "build.json"), `${JSON.stringify(record, null, 2)}\n`);
}

// Name, version, licence and licence text of every package with a byte in the built file.
function thirdParty(metafile) {
  const packages = new Map();
  const inputs = Object.values(metafile.outputs).flatMap((output) => Object.entries(output.inputs));
  for (const [path, { bytesInOutput }] of inputs) {
    const found = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path);
    if (found && bytesInOutput > 0) packages.set(found[1], join(HERE, "node_modules", found[1]));
  }
  const parts = [...packages].sort().map(([name, folder]) => {
    const { version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    const note = name === "@niivue/niivue" ? CHANGED : "";
    return `${name} ${version} (${license})\n${note}\n${licenceText(name, folder, license).trim()}\n`;
  });
  const head = "The voxel editor's built files hold these packages, each under its own licence.\n";
  return `${[head, ...parts].join(`\n${"-".repeat(78)}\n\n`).trim()}\n`;
}

const CHANGED = "Changed at build time: no gradient texture is made, and reading of Zarr is left out.\n";

// Packages that ship no licence file: the text of their repository, kept beside this script.
const KEPT_TEXTS = { "@niivue/niivue": "licences/niivue.txt" };

function licenceText(name, folder, license) {
  const file = readdirSync(folder).find((each) => /^(licen[sc]e|copying)/i.test(each));
  const path = file ? join(folder, file) : KEPT_TEXTS[name] && join(HERE, KEPT_TEXTS[name]);
  if (!path) throw new Error(`${name} (${license}) ships no licence text: add it to KEPT_TEXTS`);
  return [readFileSync(path, "utf8"), ...noticesWithin(folder)].join("\n").replaceAll("\r\n", "\n");
}

// Notices of others that a package carries within its sources.
function noticesWithin(folder) {
  const source = join(folder, "src");
  const files = existsSync(source) ? readdirSync(source, { recursive: true }).sort() : [];
  const texts = files.filter((file) => file.endsWith(".ts")).flatMap((file) => {
    const comments = readFileSync(join(source, file), "utf8").match(/\/\*[\s\S]*?\*\//g) ?? [];
    return comments.filter((comment) => /^\s*Copyright/m.test(comment.slice(2, -2)));
  });
  return [...new Set(texts.map((text) => text.slice(2, -2).trim()))];
}

function sha256(bytes) {
  return createHash("sha256").update(bytes).digest("hex");
}

await main();
