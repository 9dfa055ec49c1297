// Real uploaders by their defaults: each sends one file to `url` and tells whether that went well. Uppy reads JSON answers
// alone and does not say so in Accept, so it is told to.

import Uppy from "@uppy/core";
import XHRUpload from "@uppy/xhr-upload";
import axios from "axios";
import Dropzone from "dropzone";
import * as FilePond from "filepond";

Dropzone.autoDiscover = false;

const place = (tag) => document.body.appendChild(document.createElement(tag));

const uploaders = {
  async uppy(file, url) {
    const uppy = new Uppy().use(XHRUpload, { endpoint: url, headers: { accept: "application/json" } });
    uppy.addFile({ name: file.name, type: file.type, data: file });
    const { successful, failed } = await uppy.upload();
    return { ok: successful.length === 1, why: failed.map((one) => String(one.error)).join() };
  },
  dropzone: (file, url) => new Promise((resolve) => {
    const zone = new Dropzone(place("form"), { url });
    zone.on("success", () => resolve({ ok: true }));
    zone.on("error", (_, why) => resolve({ ok: false, why: JSON.stringify(why) }));
    zone.addFile(file);
  }),
  filepond: (file, url) => new Promise((resolve) => {
    const pond = FilePond.create(place("input"), { server: url });
    pond.on("processfile", (error) => resolve({ ok: !error, why: JSON.stringify(error) }));
    pond.on("error", (error) => resolve({ ok: false, why: JSON.stringify(error) }));
    pond.addFile(file);
  }),
  async axiosForm(file, url) {
    const form = new FormData();
    form.append("file", file);
    const { status, headers } = await axios.post(url, form, { responseType: "blob" });
    return { ok: status === 200, verdict: headers["lassim-verdict"] };
  },
  async axiosBody(file, url) {
    const { status } = await axios.post(url, await file.arrayBuffer(), { responseType: "blob" });
    return { ok: status === 200 };
  },
};

window.send = async (name, bytes, fileName, type, url) => {
  try {
    return await uploaders[name](new File([new Uint8Array(bytes)], fileName, { type }), url);
  } catch (error) {
    return { ok: false, why: String(error) };
  }
};
