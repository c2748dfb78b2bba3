// A frame on a canvas with the model's square, the kept patches lit and the rest of it dimmed.
import { element } from "/static/dom.js";

const GRID = 14;
// The model sees the centre 224 of an image whose shorter side is 256.
const CROP_SHARE = 224 / 256;

export class FrameCanvas {
  constructor(name = "frame") {
    this.name = name;
    this.element = element("canvas", { width: 640, height: 480, role: "img", "aria-label": `${name}: none yet` });
  }

  // `patches`: indices 0 to 195 of the kept patches; none dims nothing. `attention`: 196 weights in [0, 1].
  async draw(blob, { patches, attention } = {}) {
    const bitmap = await createImageBitmap(blob);
    const { width, height } = bitmap;
    const canvas = this.element;
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d");
    context.drawImage(bitmap, 0, 0);
    bitmap.close();
    const side = Math.min(width, height) * CROP_SHARE;
    const left = (width - side) / 2;
    const top = (height - side) / 2;
    const step = side / GRID;
    const fill = (patch, colour) => {
      context.fillStyle = colour;
      context.fillRect(left + (patch % GRID) * step, top + Math.floor(patch / GRID) * step, step, step);
    };
    if (patches?.length) {
      const kept = new Set(patches);
      context.fillStyle = "rgb(0 0 0 / .62)";
      for (const [x, y, w, h] of [[0, 0, width, top], [0, top + side, width, top], [0, top, left, side], [left + side, top, left, side]]) {
        context.fillRect(x, y, w, h);
      }
      for (let patch = 0; patch < GRID * GRID; patch++) if (!kept.has(patch)) fill(patch, "rgb(0 0 0 / .62)");
    }
    if (attention) {
      context.fillStyle = "rgb(0 0 0 / .45)";
      context.fillRect(0, 0, width, height);
      attention.forEach((weight, patch) => fill(patch, `rgb(255 190 60 / ${0.8 * weight})`));
    }
    if (patches?.length || attention) {
      context.strokeStyle = "rgb(69 205 176 / .9)";
      context.lineWidth = Math.max(1, width / 400);
      context.strokeRect(left, top, side, side);
    }
    const told = patches?.length ? `${patches.length} of 196 patches sent` : `${width} by ${height} pixels`;
    canvas.setAttribute("aria-label", `${this.name}, ${attention ? "attention of the edge" : told}`);
  }
}
