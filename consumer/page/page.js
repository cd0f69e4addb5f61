// Draws the charts in the reader's colours, and works the map's filter. Nothing is fetched.
(() => {
  "use strict";
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const views = {};
  const scheme = matchMedia("(prefers-color-scheme: dark)");

  function config() {
    const style = getComputedStyle(document.documentElement);
    const value = (name) => style.getPropertyValue(name).trim();
    const font = getComputedStyle(document.body).fontFamily;
    const ink = value("--ink"), faint = value("--faint"), line = value("--line");
    return {
      background: null,
      font,
      view: { stroke: null },
      axis: { labelColor: faint, titleColor: faint, gridColor: line, domainColor: line, tickColor: line, labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal" },
      legend: { labelColor: ink, titleColor: faint, labelFontSize: 12 },
      text: { color: ink },
    };
  }

  async function draw(id) {
    const element = document.getElementById(`chart-${id}`);
    if (!element) return;
    if (views[id]) views[id].finalize();
    // `ast`: expressions are interpreted, since the page lets no text be made a program.
    const made = await vegaEmbed(element, structuredClone(charts[id]), {
      actions: false, ast: true, renderer: "svg", config: config(),
      tooltip: { theme: scheme.matches ? "dark" : "light" },
    });
    views[id] = made;
    if (id === "map") filter();
    if (id === "relations") relate();
  }

  async function drawAll() {
    for (const id of Object.keys(charts)) await draw(id);
    document.documentElement.dataset.drawn = Object.keys(views).length;
  }

  const form = document.getElementById("filter");

  function chosen() {
    const boxes = [...form.querySelectorAll("[name=segment]")];
    return {
      shown: boxes.filter((box) => box.checked).map((box) => Number(box.value)),
      least: Number(form.least.value) || 0,
      sought: form.sought ? form.sought.value.trim().toLowerCase() : "",
    };
  }

  function filter() {
    if (!form || !views.map) return;
    const { shown, least, sought } = chosen();
    const view = views.map.view;
    view.signal("shown", shown).signal("least", least).signal("sought", sought).run();
    const users = charts.map.data.values.filter((user) => shown.includes(user.segment) && user.events >= least);
    const found = sought ? users.filter((user) => (user.name || "").toLowerCase().includes(sought)) : users;
    form.querySelector("output").textContent = sought ? `${found.length} found` : `${users.length} users shown`;
  }

  if (form) {
    form.addEventListener("input", filter);
    form.addEventListener("submit", (event) => event.preventDefault());
    for (const button of form.querySelectorAll("[data-all]")) {
      button.addEventListener("click", () => {
        for (const box of form.querySelectorAll("[name=segment]")) box.checked = Boolean(button.dataset.all);
        filter();
      });
    }
  }

  const relations = document.getElementById("relations-kind");

  function relate() {
    if (!relations || !views.relations) return;
    views.relations.view.signal("kind", relations.kind.value).run();
  }

  if (relations) relations.addEventListener("input", relate);

  const behind = document.getElementById("map-table");
  if (behind) {
    behind.addEventListener("toggle", () => {
      if (!behind.open || behind.querySelector("table")) return;
      const heads = { name: "user", in: "segment", events: "events", sure: "sure", next: "next segment", latest: "latest event", moved: "latest change" };
      const users = charts.map.data.values;
      if (users.every((user) => user.name === null)) delete heads.name;
      const box = document.createElement("div");
      box.className = "scroll";
      box.tabIndex = 0;
      box.setAttribute("role", "region");
      box.setAttribute("aria-label", "The users on the map");
      const table = box.appendChild(document.createElement("table"));
      const head = table.createTHead().insertRow();
      for (const name of Object.values(heads)) {
        const cell = head.appendChild(document.createElement("th"));
        cell.scope = "col";
        cell.textContent = name;
      }
      const body = table.createTBody();
      for (const user of users) {
        const row = body.insertRow();
        for (const key of Object.keys(heads)) {
          const cell = row.insertCell().appendChild(document.createElement("bdi"));
          cell.textContent = key === "sure" && user.sure !== null ? `${Math.round(100 * user.sure)} %` : user[key] ?? "";
        }
      }
      behind.appendChild(box);
    });
  }

  scheme.addEventListener("change", drawAll);
  drawAll();
})();
