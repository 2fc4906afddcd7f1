"use strict";
// Plays the clips of a report: frames of a JPEG, the maps as coloured cells over them.
(() => {
  const data = JSON.parse(document.getElementById("films").textContent);
  const find = (id) => document.getElementById(id);
  const cards = [...document.querySelectorAll(".card")];
  const settings = { strengths: [0.8, 0.5], cells: false, outline: true };

  // The frames of a film as an image, decoded when they are first needed.
  const images = new Map();
  function imageOf(film) {
    if (!images.has(film.media)) {
      const image = new Image();
      image.src = data.media[film.media];
      images.set(film.media, image.decode().then(() => image));
    }
    return images.get(film.media);
  }

  function valuesOf(film) {
    film.values ??= film.maps.map((text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)));
    return film.values;
  }

  // The cells of a map at a moment, 0..1: between two moments of the map it is blended.
  function cellsAt(film, values, moment) {
    const [times, rows, columns] = film.grid;
    const size = rows * columns;
    const [start, step] = film.axes[0];
    let place = Math.min(Math.max((moment - start) / step, 0), times - 1);
    if (settings.cells) place = Math.round(place);
    const before = Math.floor(place);
    const after = Math.min(before + 1, times - 1);
    const share = place - before;
    return Float32Array.from({ length: size }, (_, i) =>
      (values[before * size + i] * (1 - share) + values[after * size + i] * share) / 255);
  }

  // A small picture of the cells, with a rim that repeats the outermost ones.
  function paint(cells, rows, columns, [weak, strong], strength) {
    const canvas = document.createElement("canvas");
    canvas.width = columns + 2;
    canvas.height = rows + 2;
    const context = canvas.getContext("2d");
    const picture = context.createImageData(columns + 2, rows + 2);
    const inside = (place, count) => Math.min(Math.max(place - 1, 0), count - 1);
    for (let y = 0; y < rows + 2; y++) {
      for (let x = 0; x < columns + 2; x++) {
        const heat = cells[inside(y, rows) * columns + inside(x, columns)];
        const color = weak.map((value, k) => value + heat * (strong[k] - value));
        picture.data.set([...color, 255 * heat * strength], 4 * (y * (columns + 2) + x));
      }
    }
    context.putImageData(picture, 0, 0);
    return canvas;
  }

  function drawMap(context, film, index, moment, width, height) {
    const [, rows, columns] = film.grid;
    const cells = cellsAt(film, valuesOf(film)[index], moment);
    const picture = paint(cells, rows, columns, data.colors[index], settings.strengths[index]);
    const [top, down] = film.axes[1].map((value) => value * height);
    const [left, across] = film.axes[2].map((value) => value * width);
    const [x, y, w, h] = film.seen;
    context.save();
    context.beginPath();
    context.rect(x * width, y * height, w * width, h * height);
    context.clip();
    context.imageSmoothingEnabled = !settings.cells;
    context.drawImage(picture, left - 1.5 * across, top - 1.5 * down,
      across * (columns + 2), down * (rows + 2));
    if (settings.cells) {
      context.strokeStyle = "rgba(255, 255, 255, 0.35)";
      context.beginPath();
      for (let i = -1; i <= columns + 1; i++) {
        context.moveTo(left + (i - 0.5) * across, 0);
        context.lineTo(left + (i - 0.5) * across, height);
      }
      for (let i = -1; i <= rows + 1; i++) {
        context.moveTo(0, top + (i - 0.5) * down);
        context.lineTo(width, top + (i - 0.5) * down);
      }
      context.stroke();
    }
    context.restore();
  }

  function drawOutlines(context, lines, width, height) {
    context.beginPath();
    for (const line of lines) {
      for (let i = 0; i < line.length; i += 2) {
        context[i ? "lineTo" : "moveTo"](line[i] * width, line[i + 1] * height);
      }
      context.closePath();
    }
    const thin = Math.max(1, width / 200);
    for (const [color, line] of [["black", 3 * thin], ["white", 1.3 * thin]]) {
      context.strokeStyle = color;
      context.lineWidth = line;
      context.stroke();
    }
  }

  async function draw(canvas, film, step, steps) {
    if (!canvas.clientWidth) return; // filtered out
    const image = await imageOf(film);
    const last = film.shown.length - 1;
    const index = steps > 1 ? Math.round(step * last / (steps - 1)) : 0;
    const width = canvas.width = Math.round(canvas.clientWidth * devicePixelRatio);
    const height = canvas.height = Math.round(width * film.height / film.width);
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(image, 0, index * film.block, film.width, film.height, 0, 0, width, height);
    const used = film.maps.map((_, map) => map).filter((map) => settings.strengths[map] > 0);
    if (used.length) {
      // Half of the frame's colour goes, so that the map's is seen.
      context.globalCompositeOperation = "saturation";
      context.fillStyle = "rgba(128, 128, 128, 0.5)";
      context.fillRect(0, 0, width, height);
      context.globalCompositeOperation = "source-over";
    }
    for (const map of used) drawMap(context, film, map, film.shown[index], width, height);
    if (settings.outline && film.outlines.length) {
      drawOutlines(context, film.outlines[index], width, height);
    }
  }

  // A card: its films in step, its buttons.
  const players = cards.map((card, number) => {
    const films = data.films[number];
    const canvases = [...card.querySelectorAll("canvas")];
    const slider = card.querySelector(".frame");
    const button = card.querySelector(".play");
    const steps = slider ? Number(slider.max) + 1 : 1;
    let timer = null;
    const player = {
      card,
      draw() {
        const step = slider ? Number(slider.value) : 0;
        return Promise.all(canvases.map((canvas, i) => draw(canvas, films[i], step, steps)));
      },
      play(on) {
        if (!button) return;
        clearInterval(timer);
        timer = on ? setInterval(() => {
          slider.value = (Number(slider.value) + 1) % steps;
          player.draw();
        }, 1000 / films[0].rate) : null;
        button.textContent = on ? "❚❚" : "▶";
        const name = button.getAttribute("aria-label").replace(/^\S+/, "");
        button.setAttribute("aria-label", (on ? "Pause" : "Play") + name);
      },
      get playing() { return timer !== null; },
    };
    button?.addEventListener("click", () => player.play(!player.playing));
    slider?.addEventListener("input", () => player.draw());
    card.querySelector(".enlarge").addEventListener("click", () => enlarge(player));
    const observer = new ResizeObserver(() => player.draw());
    canvases.forEach((canvas) => observer.observe(canvas));
    return player;
  });
  const drawAll = () => players.forEach((player) => player.draw());

  // Enlargement: the card and the sliders move into a dialog, and back.
  const dialog = find("large");
  let enlarged = null;
  function enlarge(player) {
    if (enlarged) putBack();
    enlarged = { player, gap: document.createComment("enlarged") };
    player.card.replaceWith(enlarged.gap);
    dialog.append(find("tools"), player.card);
    if (!dialog.open) dialog.showModal();
    const shown = visible();
    find("previous").disabled = find("next").disabled = shown.length < 2;
  }
  function putBack() {
    enlarged.gap.replaceWith(enlarged.player.card);
    enlarged = null;
  }
  const visible = () => players.filter((player) => !player.card.hidden);
  function turn(by) {
    const shown = visible();
    const place = shown.indexOf(enlarged.player) + by + shown.length;
    enlarged.player.play(false);
    enlarge(shown[place % shown.length]);
  }
  if (dialog) {
    find("close").addEventListener("click", () => dialog.close());
    find("previous").addEventListener("click", () => turn(-1));
    find("next").addEventListener("click", () => turn(1));
    dialog.addEventListener("close", () => {
      const { card } = enlarged.player;
      putBack();
      find("gallery").before(find("tools"));
      card.querySelector(".enlarge").focus();
    });
  }

  // What is shown, and how.
  function filter() {
    const wanted = find("by-class").value;
    const outcome = find("by-outcome").value;
    const [low, high] = ["scene-low", "scene-high"].map((id) => find(id) && Number(find(id).value));
    for (const player of players) {
      const { classes, outcome: right, scene } = player.card.dataset;
      const share = 100 * Number(scene);
      const fits = {
        "": true,
        right: !right.includes("0"),
        wrong: !right.includes("1"),
        differ: right.includes("0") && right.includes("1"),
      };
      player.card.hidden = !(
        (!wanted || JSON.parse(classes).includes(wanted)) && fits[outcome] &&
        (scene === "" || (share >= (low ?? 0) && share <= (high ?? 100)))
      );
      if (player.card.hidden) player.play(false);
    }
    find("count").textContent = `${visible().length} of ${players.length} shown`;
  }
  if (players.length) {
    [0, 1].forEach((map) => find(`strength-${map}`)?.addEventListener("input", (event) => {
      settings.strengths[map] = event.target.value / 100;
      drawAll();
    }));
    ["cells", "outline"].forEach((id) => find(id).addEventListener("change", (event) => {
      settings[id] = event.target.checked;
      drawAll();
    }));
    ["by-class", "by-outcome"].forEach((id) => find(id).addEventListener("change", filter));
    ["scene-low", "scene-high"].forEach((id) => find(id)?.addEventListener("input", (event) => {
      event.target.parentElement.querySelector("output").textContent = `${event.target.value} %`;
      filter();
    }));
    find("play-all")?.addEventListener("click", () => {
      const on = !visible().some((player) => player.playing);
      visible().forEach((player) => player.play(on));
      find("play-all").textContent = on ? "Pause all" : "Play all";
    });
  }

  // Tables wider than the page say so, and can be scrolled by keys.
  const scrolls = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const wide = target.scrollWidth > target.clientWidth + 1;
      target.classList.toggle("overflows", wide);
      target.toggleAttribute("tabindex", wide);
      if (wide) target.tabIndex = 0;
    }
  });
  document.querySelectorAll(".scroll").forEach((element) => scrolls.observe(element));
})();
