// Posts the file argv[3] to the URL argv[2] as axios does by default in Node: as a form, and as bytes.
const { readFileSync } = require("node:fs");
const axios = require("axios");

const [, , url, path] = process.argv;
const photo = readFileSync(path);

async function main() {
  const form = new FormData();
  form.append("file", new Blob([photo]), "a.jpg");
  for (const body of [form, photo]) {
    const said = await axios.post(url, body).catch((error) => error.response);
    console.log(said.status, said.headers["content-type"], said.headers["lassim-verdict"] ?? said.data.code);
  }
}

main();
