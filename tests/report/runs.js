// Reads the page of runs: curves by step and by time, with and without the first run, and tables.
"use strict";

exports.read = async (page, found) => {
  const texts = (selector) => page.$$eval(selector, (all) => all.map((element) => element.textContent));
  const curves = () => page.$$eval("polyline", (all) => all.map((line) => ({ held: line.classList.contains("held"), points: line.points.length })));
  found.title = await page.title();
  found.state = await page.$eval("#state", (element) => element.textContent);
  found.curves = await curves();
  found.labels = await page.$$eval("svg[role=img]", (all) => all.map((chart) => chart.getAttribute("aria-label")));
  found.tables = await page.$$eval("table", (all) =>
    all.map((table) => [...table.rows].map((row) => [...row.cells].map((cell) => cell.textContent))));
  found.toml = decodeURIComponent((await page.$eval("a[download='run.toml']", (link) => link.href)).split(",")[1]);

  // What a curve is at a place.
  const chart = await page.$("#charts svg");
  const box = await chart.boundingBox();
  await page.mouse.move(box.x + 0.97 * box.width, box.y + 0.5 * box.height);
  found.read = (await texts(".read"))[0];

  const axis = (await texts("#charts svg .label")).join(" ");
  await page.click("#axis input[value=trained]");
  found.hasTimeAxis = (await texts("#charts svg .label")).join(" ") !== axis;
  // What is chosen stays when the page is loaded again.
  const boxes = await page.$$("#runs input");
  if (boxes.length > 1) await boxes[0].click();
  await page.reload();
  found.curvesOfOthers = await curves();
  found.axis = await page.$eval("#axis input:checked", (radio) => radio.value);
};
