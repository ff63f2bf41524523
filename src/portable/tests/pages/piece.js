// Reads and plays a piece's page as a listener would.
"use strict";

// Everything that goes to the loudspeaker goes past an analyser too, and every tone that is struck is written down.
exports.prepare = () => {
  window.struck = [];
  const connect = AudioNode.prototype.connect;
  AudioNode.prototype.connect = function (to, ...more) {
    if (to instanceof AudioDestinationNode && this.context instanceof AudioContext) {
      window.heard ??= new AnalyserNode(this.context, { fftSize: 2048 });
      connect.call(this, window.heard);
    }
    return connect.call(this, to, ...more);
  };
  const start = OscillatorNode.prototype.start;
  OscillatorNode.prototype.start = function (...when) {
    if (this.context instanceof AudioContext) window.struck.push(this.frequency.value);
    return start.apply(this, when);
  };
  // The level of what sounds now.
  window.level = () => {
    if (!window.heard) return 0;
    const samples = new Float32Array(window.heard.fftSize);
    window.heard.getFloatTimeDomainData(samples);
    return Math.max(...samples.map(Math.abs));
  };
  const create = URL.createObjectURL;
  URL.createObjectURL = (blob) => {
    window.made = blob;
    return create.call(URL, blob);
  };
};

exports.read = async (page, found, until) => {
  const notes = (classes) => page.$$eval("svg .note" + classes, (all) => all.length);
  found.drawn = await notes("");
  found.shared = await notes(".shared");
  found.given = await notes(".given");
  found.verdict = await page.$eval("#verdict", (element) => element.textContent);
  found.midi = await page.$eval("#midi", (link) => link.href.split(",")[1]);

  // By keyboard: to the first notes, and play from the first.
  await page.focus("#roll");
  await page.keyboard.press("ArrowRight");
  found.choices = await page.$eval("#choices", (element) => element.textContent);
  found.marked = await page.$$eval("svg .picked", (all) => all.length);
  await page.keyboard.press("Enter");
  await until(page, () => document.querySelector("svg .note.on") && window.level() > 0.02);
  await until(page, () => Number(document.getElementById("position").value) > 0.5);
  await page.keyboard.press("Space");
  found.button = await page.$eval("#play", (button) => button.textContent);
  await until(page, () => window.level() < 0.001);
  found.struck = await page.evaluate(() => window.struck);

  // A voice that is silent is struck, and not heard.
  for (const box of await page.$$("#voices input")) await box.click();
  await page.click("#play");
  const struck = found.struck.length;
  await until(page, (struck) => window.struck.length > struck + 4, struck);
  await until(page, () => Number(document.getElementById("position").value) > 0.8);
  found.silent = await page.evaluate(() => window.level());
  await page.click("#play");
  for (const box of await page.$$("#voices input")) await box.click();

  // The file of what sounds here.
  await page.click("#wav");
  await until(page, () => window.made);
  found.wav = await page.evaluate(async () => {
    const bytes = new DataView(await window.made.arrayBuffer());
    let peak = 0;
    for (let at = 44; at < bytes.byteLength; at += 2) peak = Math.max(peak, Math.abs(bytes.getInt16(at, true)));
    return { seconds: (bytes.byteLength - 44) / 2 / bytes.getUint32(24, true), peak: peak / 32767 };
  });
};
