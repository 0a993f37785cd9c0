const data = JSON.parse(document.getElementById("data").textContent);
const select = document.getElementById("image"), gallery = document.getElementById("gallery");
const radios = [...document.querySelectorAll("input[name=setting]")];
for (const name of data.names) select.add(new Option(name, name));
const file = (...parts) => parts.map(encodeURIComponent).join("/") + ".png";
function show() {
  const name = select.value, setting = radios.find(r => r.checked).value;
  const partner = data.partners[setting][name];
  const shown = [
    ["Sketch", file("gallery", "sketch", name)],
    [partner === name ? "Reference" : "Reference: " + partner,
     file("gallery", "reference_" + setting, name)],
    ["Truth", file("gallery", "truth_" + setting, name)],
    ...data.rows.map(([id, label]) => [label, file("images", id, setting, name)])];
  gallery.replaceChildren(...shown.map(([label, source]) => {
    const figure = document.createElement("figure"), image = new Image();
    const caption = document.createElement("figcaption");
    image.src = source; image.alt = label + " of " + name; caption.textContent = label;
    figure.append(image, caption);
    return figure;
  }));
  history.replaceState(null, "", "#" + new URLSearchParams({image: name, setting}));
}
function step(by) {
  const count = select.options.length;
  select.selectedIndex = (select.selectedIndex + by + count) % count;
  show();
}
select.onchange = show;
radios.forEach(r => r.onchange = show);
document.getElementById("previous").onclick = () => step(-1);
document.getElementById("next").onclick = () => step(1);
function follow() {
  const asked = new URLSearchParams(location.hash.slice(1));
  if (data.names.includes(asked.get("image"))) select.value = asked.get("image");
  const radio = radios.find(r => r.value === asked.get("setting"));
  if (radio) radio.checked = true;
  show();
}
addEventListener("hashchange", follow);
follow();
