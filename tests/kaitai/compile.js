// Reads a Kaitai Struct schema from standard input and writes a Python parser in debug mode, which
// keeps the offsets of all fields, to standard output.
//
// kaitai-struct-compiler is licensed under the GPL 3; it is run here as a tool, and nothing of it
// is part of what this project distributes.
"use strict";

const { readFileSync } = require("node:fs");
const yaml = require("js-yaml");
const compiler = require("kaitai-struct-compiler");

compiler
  .compile("python", yaml.load(readFileSync(0, "utf8")), null, true)
  .then((files) => process.stdout.write(Object.values(files).join("\n")))
  .catch((error) => {
    console.error(String(error.message || error));
    process.exitCode = 1;
  });
