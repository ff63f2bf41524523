// Opens a page in a headless Chromium, light and dark, wide and narrow, reads it as a script says, and prints what was found as
// JSON: errors, requests, widths, what axe finds, and what the script adds.
//   node browser.js PAGE MODULES SCREENSHOTS SCRIPT
"use strict";
const [, , file, modules, screenshots, script] = process.argv;
const { createRequire } = require("node:module");
const { join } = require("node:path");
const load = createRequire(join(modules, "package.json"));
const puppeteer = load("puppeteer-core");
// What a page runs before its own scripts, and what is read of it in the end.
const { prepare, read } = require(script);

// Waits for a condition, frame by frame; puppeteer's own way is forbidden by the page's policy.
async function until(page, condition, argument) {
  const deadline = Date.now() + 60000;
  while (!(await page.evaluate(condition, argument))) {
    if (Date.now() > deadline) throw new Error(`never came: ${condition}`);
    await page.evaluate(() => new Promise(requestAnimationFrame));
  }
}

(async () => {
  const browser = await puppeteer.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox"] });
  const errors = [], requests = [];
  const open = async (width, scheme) => {
    const page = await browser.newPage();
    page.on("console", (message) => errors.push(message.text()));
    page.on("pageerror", (error) => errors.push(error.message));
    page.on("request", (request) => requests.push(request.url().split(":")[0]));
    await page.setViewport({ width, height: 900 });
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
    if (prepare) await page.evaluateOnNewDocument(prepare);
    await page.goto("file://" + file);
    return page;
  };
  const found = { widths: {}, axe: [] };
  for (const width of [1280, 390]) {
    for (const scheme of ["light", "dark"]) {
      const page = await open(width, scheme);
      await page.screenshot({ path: join(screenshots, `${width}-${scheme}.png`), fullPage: true });
      found.widths[width] = await page.evaluate(() => document.documentElement.scrollWidth);
      // The page's own policy forbids scripts that it does not contain, so axe comes by the debugger.
      await page.evaluate(require("node:fs").readFileSync(load.resolve("axe-core/axe.min.js"), "utf8"));
      const { violations } = await page.evaluate(() => window.axe.run());
      found.axe.push(...violations.map(({ id, impact }) => `${impact} ${id} at ${width}, ${scheme}`));
      await page.close();
    }
  }

  await read(await open(1280, "light"), found, until);
  await browser.close();
  console.log(JSON.stringify({ ...found, errors, requests: [...new Set(requests)] }));
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
