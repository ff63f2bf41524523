// Reads the page of several pieces, and goes to the second.
"use strict";

exports.read = async (page, found) => {
  const drawn = () => page.$$eval("svg .note", (all) => all.length);
  found.titles = await page.$$eval("#pieces option", (all) => all.map((option) => option.textContent));
  found.drawn = [await drawn()];
  found.hasCertificate = await page.$eval("#certificate", (section) => section.checkVisibility());
  // The address changes, and then the page is loaded anew.
  const loaded = new Promise((resolve) => page.once("load", resolve));
  await page.select("#pieces", "1");
  await loaded;
  found.drawn.push(await drawn());
  found.second = await page.title();
};
