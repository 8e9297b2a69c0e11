"""Draw the packages of each member and the imports between them: `.venv/bin/python tools/draw_structure.py`.

The pictures go to docs/images: `structure-MEMBER.svg` from the imports of this checkout, `structure-before.svg` and
`structure-after.svg` from two commits, before and after modules moved into packages. Boxes stand in rows so that every
arrow points down (Sugiyama, Tagawa and Toda, 1981: rows by the longest path, order by the neighbours' mean place).
"""

import ast
import io
import subprocess
import sys
import tarfile
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
MEMBERS = {"model": "bodega_model", "db": "bodega_db", "api": "bodega_api", "lab": "bodega"}
COMMITS = {"before": "0fa7f99", "after": "aa2eaaf"}

Graph = dict[str, set[str]]  # who imports: what it imports

LINE, GAP, CHARACTER, PADDING = 17, 46, 7.3, 12  # pixels
STYLE = """
    /* Every box brings its own background, so that the picture reads on a light page and on a dark one. */
    text { font: 12px ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace; fill: #59636e }
    .box { fill: #ffffff; stroke: #8c959f } .group { fill: #f6f8fa; stroke: #8c959f }
    .name { font-weight: 700; fill: #1f2328 } .title { font-size: 15px; fill: #768390 }
    .way { fill: none; stroke: #768390; stroke-width: 1.3 }
    .thin { stroke: #0969da; stroke-opacity: 0.3; stroke-width: 0.8 }
    .tip { fill: #768390 }
    @media (prefers-color-scheme: dark) {
      text { fill: #b7bdc8 } .name { fill: #f0f6fc } .box { fill: #212830; stroke: #656c76 }
      .group { fill: #151b23; stroke: #656c76 } .thin { stroke: #58a6ff }
    }
  """
TIP = (
    '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
    '<path class="tip" d="M0 0 10 5 0 10z"/></marker></defs>'
)


class Box(NamedTuple):
    """A rectangle with a name and lines of text: its place is that of its upper left corner."""

    x: float
    y: float
    width: float
    height: float


# --- imports ------------------------------------------------------------------------------------------------


def read_imports(sources: Path) -> Graph:
    """Return which modules of a package each of its modules imports; names are relative to the package."""
    files = {name_of(path, sources): path for path in sorted(sources.rglob("*.py"))}
    return {
        name: {found for found in imported(path, sources.name, set(files)) if found not in {name, ""}}
        for name, path in files.items()
        if name
        or path.stat().st_size > 500  # an __init__ that only says what the package is, is no part of the picture
    }


def name_of(path: Path, sources: Path) -> str:
    """Return the dotted name of a module; that of a package is the name of its folder."""
    parts = path.relative_to(sources).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imported(path: Path, package: str, modules: set[str]) -> Iterator[str]:
    """Go through the modules of the package that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.partition(".")[0] == package:
                inner = name.partition(".")[2]
                yield inner if inner in modules else inner.rpartition(".")[0]


def packages_of(imports: Graph) -> Graph:
    """Return which packages each package of a member imports; a module beside them counts as a package."""
    graph: Graph = {top(module): set() for module in imports}
    for module, others in imports.items():
        graph[top(module)] |= {top(other) for other in others} - {top(module)}
    return graph


def top(module: str) -> str:
    """Return the package of a member that a module is in."""
    return module.partition(".")[0]


def modules_in(package: str, imports: Graph) -> list[str]:
    """Return the names of a package's modules, without those of packages in it."""
    inner = (module.removeprefix(package + ".") for module in imports if module.startswith(package + "."))
    return sorted({top(name) for name in inner})


# --- rows ---------------------------------------------------------------------------------------------------


def levels_of(graph: Graph) -> dict[str, int]:
    """Return how far above the lowest row each node stands: one above the highest that it imports."""
    levels: dict[str, int] = {}

    def level(node: str, on_the_way: tuple[str, ...] = ()) -> int:
        if node not in levels:
            below = [level(other, (*on_the_way, node)) for other in graph[node] if other not in on_the_way]
            levels[node] = 1 + max(below, default=-1)
        return levels[node]

    for node in sorted(graph):
        level(node)
    return levels


def without_shortcuts(graph: Graph) -> Graph:
    """Return the graph without each arrow that other arrows imply."""

    def reached(node: str) -> set[str]:
        return {node}.union(*(reached(other) for other in graph[node]))

    return {
        node: {one for one in others if not any(one in reached(other) for other in others - {one})}
        for node, others in graph.items()
    }


def rows_of(graph: Graph) -> tuple[list[list[str]], list[list[str]]]:
    """Return the rows from the highest down, and the way of each arrow: the boxes and the rows that it crosses."""
    levels = levels_of(graph)
    ways = []
    for node in sorted(graph):
        for other in sorted(graph[node]):
            between = [f"{node}>{other}>{level}" for level in range(levels[node] - 1, levels[other], -1)]
            levels |= {place: int(place.rpartition(">")[2]) for place in between}
            ways.append([node, *between, other])
    rows = [sorted(node for node in levels if levels[node] == level) for level in range(max(levels.values()), -1, -1)]
    steps = [step for way in ways for step in pairwise(way)]
    for _ in range(8):
        for above, row in pairwise(rows):
            row.sort(key=mean_place(above, {node: [one for one, other in steps if other == node] for node in row}))
        for row, below in reversed(list(pairwise(rows))):
            row.sort(key=mean_place(below, {node: [other for one, other in steps if one == node] for node in row}))
    return rows, ways


def mean_place(row: list[str], neighbours: dict[str, list[str]]) -> Callable[[str], float]:
    """Return what a node is ordered by: the mean place, from 0 to 1, of its neighbours in another row."""

    def place(node: str) -> float:
        near = [(row.index(other) + 0.5) / len(row) for other in neighbours[node] if other in row]
        return round(sum(near) / len(near), 6) if near else 0.5

    return place


# --- pictures -----------------------------------------------------------------------------------------------


def draw_member(member: str, imports: Graph) -> str:
    """Return the picture of a member: a box for each package with its modules, an arrow for what it imports."""
    graph = without_shortcuts(packages_of(imports))
    rows, ways = rows_of(graph)
    texts = {node: textwrap.wrap(" ".join(modules_in(node, imports)), 30) for node in graph}
    boxes = placed(rows, texts)
    width = max(box.x + box.width for box in boxes.values()) + PADDING
    height = max(box.y + box.height for box in boxes.values()) + PADDING
    parts = [TIP, *(way_through([boxes[node] for node in way]) for way in ways)]
    parts += [part for node in sorted(graph) for part in filled(boxes[node], node or MEMBERS[member], texts[node])]
    alt = f"The packages of {MEMBERS[member]}, with their modules; an arrow points to what a package imports."
    return svg(width, height, alt, parts)


def placed(rows: list[list[str]], texts: dict[str, list[str]]) -> dict[str, Box]:
    """Return where each box of the rows stands."""
    sizes = {node: size_of(node, texts.get(node)) for row in rows for node in row}
    widest = max(sum(sizes[node][0] + 22 for node in row) for row in rows)
    boxes, y = {}, float(PADDING)
    for row in rows:
        x = PADDING + (widest - sum(sizes[node][0] + 22 for node in row)) / 2
        tallest = max(sizes[node][1] for node in row)
        for node in row:
            width, height = sizes[node]
            boxes[node] = Box(x, y, width, height if node in texts else tallest)
            x += width + 22
        y += tallest + GAP
    return boxes


def size_of(node: str, text: list[str] | None) -> tuple[float, float]:
    """Return the width and height of a box; without a text it is the place where an arrow crosses a row."""
    if text is None:
        return 8, 0
    return max(len(line) for line in [node, "          ", *text]) * CHARACTER + 2 * PADDING, (
        len(text) + 1
    ) * LINE + PADDING


def way_through(places: list[Box]) -> str:
    """Return an arrow from the first box, through the places where it crosses rows, to the last box."""
    x, y = places[0].x + places[0].width / 2, places[0].y + places[0].height
    path = f"M{x:.0f} {y:.0f}"
    for place in places[1:]:
        to_x, to_y = place.x + place.width / 2, place.y
        middle = (y + to_y) / 2
        path += f"C{x:.0f} {middle:.0f} {to_x:.0f} {middle:.0f} {to_x:.0f} {to_y:.0f}"
        x, y = to_x, place.y + place.height
        path += f"L{x:.0f} {y:.0f}" if place is not places[-1] else ""
    return f'<path class="way" marker-end="url(#tip)" d="{path}"/>'


def filled(box: Box, name: str, text: list[str]) -> Iterator[str]:
    """Return a box with its name and lines of text."""
    place = f'x="{box.x:.0f}" y="{box.y:.0f}" width="{box.width:.0f}" height="{box.height:.0f}"'
    yield f'<rect class="box" {place} rx="6"/>'
    for number, line in enumerate([name, *text]):
        kind = ' class="name"' if number == 0 else ""
        yield f'<text{kind} x="{box.x + PADDING:.0f}" y="{box.y + LINE * (number + 1):.0f}">{escape(line)}</text>'


def draw_modules(members: dict[str, Graph], when: str) -> str:
    """Return the picture of all modules: a frame for each package, a thin line for each import inside a member."""
    lines: list[str] = []
    frames: list[str] = []
    y = 10.0
    for member, imports in members.items():
        count = sum(len(others) for others in imports.values())
        title = f"{MEMBERS[member]}: {len(imports)} modules, {count} imports between them"
        frames.append(f'<text class="title" x="12" y="{y + 16:.0f}">{title}</text>')
        y += 26
        places: dict[str, str] = {}
        for row in frame_rows(imports):
            y += frame_row(row, imports, y, frames, places) + 12
        lines += [
            f'<path class="thin" d="M{places[one]}L{places[other]}"/>'
            for one in sorted(imports)
            for other in sorted(imports[one])
            if other in places
        ]
        y += 14
    return svg(1240, y, f"All modules and the imports between them, {when} they moved into packages.", frames + lines)


def frame_rows(imports: Graph) -> list[list[str]]:
    """Return the frames of the picture in rows: the packages, and below them one for the modules beside them."""
    packages = {top(module) for module in imports if "." in module}
    graph: Graph = {package: set() for package in packages}
    for module, others in imports.items():
        if top(module) in packages:
            graph[top(module)] |= {top(other) for other in others} & packages - {top(module)}
    rows = rows_of(graph)[0] if graph else []
    beside = [["modules"]] if any(top(module) not in packages for module in imports) else []
    return [[node for node in row if ">" not in node] for row in rows] + beside


def frame_of(module: str, packages: set[str]) -> str:
    """Return the frame that a module stands in."""
    return top(module) if top(module) in packages else "modules"


def frame_row(row: list[str], imports: Graph, y: float, frames: list[str], places: dict[str, str]) -> float:
    """Draw the frames of a row side by side and return the height of the highest."""
    packages = {top(module) for module in imports if "." in module}
    inside = {frame: sorted(module for module in imports if frame_of(module, packages) == frame) for frame in row}
    count = max(1, sum(len(modules) for modules in inside.values()))
    columns = {frame: max(1, round(8 * len(modules) / count)) for frame, modules in inside.items()}
    while sum(columns.values()) > 8:
        columns[max(columns, key=lambda frame: (columns[frame], frame))] -= 1
    x, tallest = 12.0, 0.0
    for frame in row:
        wide, high = columns[frame] * 150 - 6, (-(-len(inside[frame]) // columns[frame])) * 24 + 26
        frames.append(f'<rect class="group" x="{x:.0f}" y="{y:.0f}" width="{wide}" height="{high}" rx="6"/>')
        frames.append(f'<text class="name" x="{x + 8:.0f}" y="{y + 16:.0f}">{frame}</text>')
        for number, module in enumerate(inside[frame]):
            at_x, at_y = x + 8 + number % columns[frame] * 150, y + 38 + number // columns[frame] * 24
            name = module.removeprefix(frame + ".") or "__init__"
            frames.append(f'<text x="{at_x:.0f}" y="{at_y:.0f}">{name if name != frame else "__init__"}</text>')
            places[module] = f"{at_x + len(name) * CHARACTER / 2:.0f} {at_y - 4:.0f}"
        x += wide + 14
        tallest = max(tallest, high)
    return tallest


def svg(width: float, height: float, alt: str, parts: list[str]) -> str:
    """Return a whole picture."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{alt}">'
    )
    return "\n".join(
        [head, f"  <title>{alt}</title>", f"  <style>{STYLE}</style>", *(f"  {part}" for part in parts), "</svg>\n"]
    )


# --- files --------------------------------------------------------------------------------------------------


def pictures() -> Iterator[tuple[str, str]]:
    """Return the name and text of each picture of this checkout."""
    for member, package in MEMBERS.items():
        yield f"structure-{member}.svg", draw_member(member, read_imports(ROOT / member / "src" / package))


def picture_of(when: str) -> str | None:
    """Return the picture of all modules at one of the two commits, or nothing in a clone without it."""
    sources = [f"{member}/src" for member in MEMBERS]
    there = subprocess.run(
        ["git", "ls-tree", "--name-only", COMMITS[when], *sources],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if there.returncode != 0:
        return None
    found = there.stdout.split()
    packed = subprocess.run(["git", "archive", COMMITS[when], *found], cwd=ROOT, capture_output=True, check=True).stdout
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
        members = [path.partition("/")[0] for path in found]
        return draw_modules(
            {member: read_imports(Path(folder, member, "src", MEMBERS[member])) for member in members}, when
        )


def main() -> None:
    """Write all pictures."""
    for name, picture in pictures():
        (IMAGES / name).write_text(picture)
    for when, commit in COMMITS.items():
        text = picture_of(when)
        if text is None:
            sys.exit(f"This clone has no commit {commit}: `git fetch --unshallow`, then again.")
        (IMAGES / f"structure-{when}.svg").write_text(text)


if __name__ == "__main__":
    main()
