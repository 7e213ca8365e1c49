// A grey PNG of numbers, which canvases cannot write: theirs have colours, and a map's pixel is a label's number.

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const POLYNOMIAL = 0xedb88320;

/** A blob of (height, width) numbers from 0 to 255, row by row. */
export async function greyPng(numbers, width, height) {
  const rows = new Uint8Array(height * (width + 1)); // before each row its filter: none
  for (let row = 0; row < height; row++) rows.set(numbers.subarray(row * width, (row + 1) * width), row * (width + 1) + 1);
  const stream = new Blob([rows]).stream().pipeThrough(new CompressionStream("deflate"));
  const packed = new Uint8Array(await new Response(stream).arrayBuffer());
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header[8] = 8; // bits of a grey pixel
  const parts = [new Uint8Array(SIGNATURE), chunk("IHDR", header), chunk("IDAT", packed), chunk("IEND", new Uint8Array(0))];
  return new Blob(parts, { type: "image/png" });
}

function chunk(kind, body) {
  const made = new Uint8Array(body.length + 12);
  const view = new DataView(made.buffer);
  view.setUint32(0, body.length);
  made.set([...kind].map((letter) => letter.charCodeAt(0)), 4);
  made.set(body, 8);
  view.setUint32(body.length + 8, crc(made.subarray(4, body.length + 8)));
  return made;
}

function crc(bytes) {
  let found = 0xffffffff;
  for (const byte of bytes) {
    found ^= byte;
    for (let bit = 0; bit < 8; bit++) found = (found >>> 1) ^ (found & 1 ? POLYNOMIAL : 0);
  }
  return ~found >>> 0;
}
