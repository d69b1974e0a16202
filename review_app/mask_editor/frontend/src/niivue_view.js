// The CT drawn by NiiVue on a graphics processor. NiiVue draws slices alone: masks, outlines and
// tools lie on canvases of our own above it, so a stroke never waits for a texture.
// Uses NiiVue 0.69.0's internals (draw2DMain, screenFieldOfViewExtendedVox); the version is pinned.

import { NVImage, Niivue } from "@niivue/niivue";

import { AXIAL, CORONAL } from "./grid.js";

const NIFTI_INT16 = 4;
const OPTIONS = {
  interactive: false,
  isResizeCanvas: false,
  isRadiologicalConvention: true,
  sagittalNoseLeft: true,
  isOrientationTextVisible: false,
  isColorbar: false,
  crosshairWidth: 0,
  show3Dcrosshair: false,
  dragAndDropEnabled: false,
  backColor: [0, 0, 0, 1],
  loadingText: "",
  logLevel: "error",
};

export class NiivueView {
  kind = "webgl";
  #grid = null;

  static async open(canvas) {
    const view = new NiivueView();
    view.canvas = canvas;
    view.niivue = new Niivue(OPTIONS);
    // NiiVue draws itself after many of its calls; here only `draw` does.
    view.niivue.drawScene = () => undefined;
    await view.niivue.attachToCanvas(canvas, false);
    return view;
  }

  async setVolume(grid, ct, [lowHu, highHu]) {
    const [dx, dy, dz] = grid.spacingMm;
    const affine = [dx, 0, 0, 0, 0, dy, 0, 0, 0, 0, dz, 0, 0, 0, 0, 1];
    const file = NVImage.createNiftiArray(grid.shape, grid.spacingMm, affine, NIFTI_INT16, ct);
    const image = await NVImage.new(
      file.buffer, "region.nii", "gray", 1, null, lowHu, highHu, true,
    );
    this.niivue.volumes = [];
    this.niivue.addVolume(image);
    this.#grid = grid;
  }

  setWindow([lowHu, highHu]) {
    const [image] = this.niivue.volumes;
    if (!image) return;
    image.cal_min = lowHu;
    image.cal_max = highHu;
    this.niivue.updateGLVolume();
  }

  draw({ panes, cursor, width, height, ratio }) {
    const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (this.canvas.width !== w || this.canvas.height !== h) {
      this.canvas.width = w;
      this.canvas.height = h;
    }
    const { gl } = this.niivue;
    gl.viewport(0, 0, w, h);
    gl.clearColor(0, 0, 0, 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    if (!this.#grid) return;
    this.niivue.bindTextures();
    this.niivue.screenSlices = [];
    for (const pane of panes) this.#drawPane(pane, cursor, ratio);
    gl.flush();
  }

  // NiiVue asks for the mm that a tile shows: the answer is the pane's own view.
  #drawPane(pane, cursor, ratio) {
    const sliceType = pane.axis === AXIAL ? 0 : pane.axis === CORONAL ? 1 : 2;
    const bounds = shownMm(pane, this.#grid);
    this.niivue.screenFieldOfViewExtendedVox = () => bounds;
    const rect = pane.rect.map((value) => Math.round(value * ratio));
    const sliceMm = cursor[pane.axis] * this.#grid.spacingMm[pane.axis];
    this.niivue.draw2DMain(rect, sliceType, sliceMm);
  }

  destroy() {
    this.niivue.cleanup();
    this.niivue.gl.getExtension("WEBGL_lose_context")?.loseContext();
    this.#grid = null;
  }
}

// What the pane shows in mm as [u, v, w]; w is the depth, which only has to hold the volume.
function shownMm(pane, grid) {
  const { spacingU, spacingV, axis } = pane.plane;
  const [left, top, width, height] = pane.rect;
  const [uHigh, vHigh] = pane.toPlane(left, top);
  const [uLow, vLow] = pane.toPlane(left + width, top + height);
  const depth = grid.shape[axis] * grid.spacingMm[axis];
  const mnMM = [uLow * spacingU, vLow * spacingV, -depth];
  const mxMM = [uHigh * spacingU, vHigh * spacingV, 2 * depth];
  return { mnMM, mxMM, rotation: [], fovMM: mxMM.map((high, i) => high - mnMM[i]) };
}
