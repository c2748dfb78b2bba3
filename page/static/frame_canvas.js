// A frame on a canvas with the model's square, the kept patches lit and the rest of it dimmed.
import { element } from "/static/dom.js";

const GRID = 14;
// The model sees the centre 224 of an image whose shorter side is 256.
const CROP_SHARE = 224 / 256;

export class FrameCanvas {
  constructor() {
    this.element = element("canvas", { width: 640, height: 480, role: "img", "aria-label": "newest frame" });
  }

  // `patches`: indices 0 to 195 of the kept patches; none dims nothing. `attention`: 196 weights.
  async draw(blob, patches, attention) {
    const bitmap = await createImageBitmap(blob);
    const { width, height } = bitmap;
    const canvas = this.element;
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d");
    context.drawImage(bitmap, 0, 0);
    const side = Math.min(width, height) * CROP_SHARE;
    const left = (width - side) / 2;
    const top = (height - side) / 2;
    bitmap.close();
    const step = side / GRID;
    const strongest = attention ? Math.max(...attention, 1e-9) : 1;
    const kept = new Set(patches || []);
    if (!kept.size && !attention) return;
    for (let patch = 0; patch < GRID * GRID; patch++) {
      const x = left + (patch % GRID) * step;
      const y = top + Math.floor(patch / GRID) * step;
      if (attention) {
        context.fillStyle = `rgb(255 190 60 / ${(0.75 * attention[patch]) / strongest})`;
        context.fillRect(x, y, step, step);
      } else if (!kept.has(patch)) {
        context.fillStyle = "rgb(0 0 0 / .62)";
        context.fillRect(x, y, step, step);
      }
    }
    context.strokeStyle = "rgb(69 205 176 / .9)";
    context.lineWidth = Math.max(1, width / 400);
    context.strokeRect(left, top, side, side);
    this.element.setAttribute("aria-label", kept.size ? `frame, ${kept.size} of 196 patches sent` : "frame");
  }
}
