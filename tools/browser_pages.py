"""The pages of `make pages`, looked at in a browser: every page, as wide as a desktop and as a phone."""
from functools import cache
from urllib.parse import unquote

from browser import WIDTHS
from pages import PAGES, sidebar, write_pages

# What a page is, all folds open. Cut is what hides a part of its content, or reaches over the edge of the screen where nothing scrolls.
LOOK = """async () => {
  const all = (css) => [...document.querySelectorAll(css)], width = document.documentElement.clientWidth;
  let shift = 0;
  new PerformanceObserver((list) => { for (const e of list.getEntries()) shift += e.value; }).observe({type: "layout-shift", buffered: true});
  for (let y = 0; y < document.body.scrollHeight; y += 4000) { scrollTo(0, y); await new Promise(requestAnimationFrame); }
  const jumped = shift, links = all("a"), images = all("img");
  for (const fold of all("details")) fold.open = true;
  await new Promise((done) => setTimeout(done, 100));
  const overflow = (e) => getComputedStyle(e).overflowX, range = document.createRange(), texts = document.createTreeWalker(document.querySelector("main"), 4);
  const scrolls = (e) => { for (; e !== document.body; e = e.parentElement) if (["auto", "scroll"].includes(overflow(e))) return true; };
  const hides = (e) => ["hidden", "clip"].includes(overflow(e)) && e.scrollWidth > e.clientWidth + 1;
  const cut = all("main *").filter((e) => hides(e) || e.getBoundingClientRect().right > width + 1 && !scrolls(e));
  for (let text; text = texts.nextNode();) {
    range.selectNode(text);
    if (range.getBoundingClientRect().right > width + 1 && !scrolls(text.parentElement)) cut.push(text.parentElement);
  }
  return {jumped, cells: all(".cell").length, sideways: document.scrollingElement.scrollWidth - width,
          cut: cut.map((e) => e.outerHTML.slice(0, 120)),
          tex: all("math").map((e) => e.textContent).filter((text) => text.includes("\\\\")), ids: all("[id]").map((e) => e.id),
          links: links.map((e) => e.getAttribute("href")), next: document.querySelector("[rel=next]")?.getAttribute("href"),
          current: all('[aria-current="page"]').map((e) => e.getAttribute("href")), unsized: images.filter((e) => !(e.width && e.height)).map((e) => e.src),
          pictures: images.map((e) => [e.getAttribute("src"), e.alt.trim()])};
}"""
LIGHT = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
  const light = (colour) => {
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map((v) => (v /= 255) > 0.04045 ? ((v + 0.055) / 1.055) ** 2.4 : v / 12.92);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const paper = (e) => { const colour = getComputedStyle(e).backgroundColor; return colour === "rgba(0, 0, 0, 0)" ? paper(e.parentElement) : light(colour); };
  const contrast = (e) => { const both = [light(getComputedStyle(e).color), paper(e)]; return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05); };
  for (const fold of document.querySelectorAll("details")) fold.open = true;
  const text = document.querySelectorAll("main :is(p, a:not(.anchor), .line, .line span, .output, summary, h1 .number), nav a");
  return {contrast: Math.min(...[...text].map(contrast)), paper: paper(document.querySelector("main")), card: paper(document.querySelector("figure"))};
}"""


def address(name):
    return (PAGES / f"{name}.html").as_uri()


@cache
def looked_at(browser):
    "All pages, written anew, as LOOK sees them: {(file, width): what}."
    write_pages()
    found = {}
    for width, height in WIDTHS.values():
        page = browser.new_page(viewport={"width": width, "height": height})
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})  # seconds of work, which do not depend on what else the machine does
        for name, _ in sidebar():
            page.goto(address(name))
            work = {metric["name"]: metric["value"] for metric in session.send("Performance.getMetrics")["metrics"]}
            found[f"{name}.html", width] = page.evaluate(LOOK) | {"work": work["TaskDuration"]}
        page.close()
    return found


def test_nothing_is_cut(browser):
    "no cell is cut, and no page scrolls sideways, at both widths"
    found = looked_at(browser)
    problems = [f"{file} at {width} px: {what}" for (file, width), look in found.items() for what in look["cut"]]
    problems += [f"{file} at {width} px scrolls sideways by {look['sideways']} px" for (file, width), look in found.items() if look["sideways"] > 0]
    cells = sum(look["cells"] for look in found.values()) // len(WIDTHS)
    print(f"       {len(problems)} places cut, {cells} cells looked at")
    assert not problems and cells > 600, "\n".join(problems)


def test_pages_are_quick(browser):
    "every page takes less than a second of work until it can be read, and does not jump while it loads"
    slowest, jump = (max((look[key], *page) for page, look in looked_at(browser).items()) for key in ("work", "jumped"))
    print(f"       most work (s): {slowest}; largest shift: {jump}")
    assert slowest[0] < 1 and jump[0] < 0.05


def test_links_lead_somewhere(browser):
    "no link is dead, every formula is drawn, every picture is there with its size and a text, and Next leads through all pages"
    pages, problems = {file: look for (file, width), look in looked_at(browser).items() if width == 1366}, []
    for file, look in pages.items():
        problems += [f"{file}: two places are named {name}" for name in set(look["ids"]) if look["ids"].count(name) > 1]
        problems += [f"{file}: not a formula: {tex}" for tex in look["tex"]]
        problems += [f"{file}: no size: {picture}" for picture in look["unsized"]]
        problems += [f"{file}: {src} ({alt})" for src, alt in look["pictures"] if not alt or not (PAGES / src).exists()]
        for link in look["links"]:
            to, _, place = link.partition("#")
            lives = to.startswith(("https://", "http://")) or not to or (PAGES / to).exists()
            if not lives or place and (not to or to in pages) and unquote(place) not in pages[to or file]["ids"]:
                problems.append(f"{file}: {link}")
        if look["current"] != [file]:
            problems.append(f"{file} is not marked as the current page")
    read = ["index.html"]
    while following := pages[read[-1]].get("next"):
        read.append(following)
    assert not problems, "\n".join(problems)
    assert read == list(pages), f"Next leads through {read}"


def test_what_is_folded(browser):
    "answers, tests and imports are closed, and what a link leads to is open"
    page = browser.new_page()
    page.goto(address("02_unet"))
    folds = page.evaluate("[...document.querySelectorAll('main details')].map((e) => [e.open, e.querySelector('summary').textContent])")
    assert not any(is_open for is_open, _ in folds), folds
    assert {"Test", "Imports"} < {summary for _, summary in folds} and len(folds) > 8, folds
    page.evaluate("document.querySelector('main details p').id = 'there'; location.hash = 'there'")
    page.wait_for_function("document.getElementById('there').closest('details').open")
    page.close()


def test_search(browser):
    "the search finds words on other pages, and leads to them, without a server"
    for width, height in WIDTHS.values():
        page = browser.new_page(viewport={"width": width, "height": height})
        page.goto(address("index"))
        page.keyboard.press("/")
        page.keyboard.type("hutchinson estim")
        page.wait_for_selector("#results a")
        box = page.locator("#results").bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width, box
        page.click('#results a[href^="05b_likelihood.html"] >> nth=0')
        page.wait_for_url("**/05b_likelihood.html#**")
        page.fill("#query", "qwertzuiop")
        page.wait_for_function("document.getElementById('results').textContent === 'Nothing found.'")
        dead = [(file, name) for file, name, *_ in page.evaluate("INDEX") if name and name not in looked_at(browser)[file, width]["ids"]]
        assert not dead, dead
        page.close()


def test_navigation_on_a_phone(browser):
    "on a phone the lists of pages and of sections open over the text, and close"
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto(address("03_ddpm"))
    assert not page.locator("#course").is_visible() and not page.locator("#contents").is_visible()
    page.click("text=On this page")
    page.click("#contents a >> nth=-1")
    assert not page.locator("#contents").is_visible() and page.evaluate("scrollY") > 1000
    page.click("header >> text=Course")
    page.keyboard.press("Escape")
    assert not page.locator("#course").is_visible()
    page.click("header >> text=Course")
    page.click("#course >> text=DPM-Solver++")
    page.wait_for_url("**/04a_dpm_solver.html")
    page.close()


def test_formula_sheet(browser):
    "the formula sheet prints on two pages, with nothing beyond the edge"
    page = browser.new_page(viewport={"width": 718, "height": 1047})  # A4 within margins of a centimetre
    page.emulate_media(media="print")
    page.goto(address("formulas"))
    wide = page.evaluate("[...document.querySelectorAll('table')].filter((e) => e.offsetWidth > e.parentElement.clientWidth).map((e) => e.innerText)")
    found = {size: page.pdf(format=size).count(b"/Type /Page\n") for size in ("A4", "Letter")}
    assert not wide and found == {"A4": 2, "Letter": 2}, (found, wide)
    page.close()


def test_light_and_dark(browser):
    "the colours follow the system, text has a contrast of at least 4.5, pictures lie on white"
    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme)
        for name in ("03_ddpm", "11_classifier_guidance"):
            page.goto(address(name))
            found = page.evaluate(LIGHT)
            assert (found["paper"] > 0.8) == (scheme == "light") and found["card"] > 0.8 and found["contrast"] >= 4.5, (scheme, name, found)
        page.close()
