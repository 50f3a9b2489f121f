#!/usr/bin/env python3
"""House rules that a compiler does not see: who includes whom, sizes, banned calls, unfinished words.

    lint.py ROOT

A function may be longer than the limit if the line before it says `/* lint: long, REASON */`.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(sys.argv[1])
DOMAINS = re.search(r"^infrafs_domains\(([\w ]+)\)", (ROOT / "CMakeLists.txt").read_text(), re.M).group(1).split()
FILE_LINES, FUNCTION_LINES, COLUMNS = 600, 80, 100
BANNED = re.compile(r"\b(alloca|strcpy|strcat|sprintf|vsprintf|atoi|atol|gets|localtime|gmtime|ctime|system|popen|strtok|rand|tmpnam|mktemp|usleep)\s*\(")
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK|not (yet )?implemented)\b")
SEAMS = {"domain.h", "node.h", "web.h", "tree.h", "feed.h", "config.h"}
MAY = {
    "base": {"base"},
    "op": {"base", "op"},
    "store": {"base", "op", "store"},
    "identity": {"base", "op", "store", "identity", "config.h"},
    "command": {"base", "op", "identity", "config.h", "command"},
    "fs": {"base", "op", "identity", "store/blob.h", "node.h", "tree.h", "feed.h", "domain.h", "fs"},
    "http": {"base", "op", "identity", "store/blob.h", "node.h", "tree.h", "feed.h", "web.h", "domain.h", "config.h", "http"},
}
LIBRARIES = {"rocksdb/": "src/store/rocks", "fuse": "fs/", "microhttpd": "http/", "crypt.h": "src/identity/"}

problems = []


def complain(path, line, text):
    problems.append(f"{path}:{line}: {text}")


def layer_of(path):
    parts = path.parts
    if parts[0] in ("fs", "http"):
        return parts[0]
    return parts[1] if len(parts) > 2 else "src"


def check_include(path, number, line):
    m = re.match(r'#include "([^"]+)"', line)
    layer = layer_of(path)
    if m:
        name = m.group(1)
        if layer == "src" or name.startswith("generated/") or "/" not in name and name not in SEAMS:
            return
        allowed = MAY.get(layer)
        if allowed is None:  # a domain
            allowed = {"base", "op", "identity", "store"} | SEAMS | {layer}
        if name not in allowed and name.split("/")[0] not in allowed:
            complain(path, number, f"{layer} may not include {name}")
    m = re.match(r"#include <([^>]+)>", line)
    for prefix, home in LIBRARIES.items():
        if m and m.group(1).startswith(prefix) and not str(path).startswith(home):
            complain(path, number, f"<{m.group(1)}> belongs to {home}")


def check_functions(path, lines):
    start, depth = None, 0
    for number, line in enumerate(lines, 1):
        if line == "{" and number > 1 and not lines[number - 2].startswith(("struct", "enum", "static const", "const", "union")):
            start = number
        if line == "}" and start:
            head = start - 1
            while head > 1 and lines[head - 2] and not lines[head - 2].endswith(("*/", "}", ";")):
                head -= 1
            excused = head > 1 and "lint: long," in lines[head - 2]
            if number - start > FUNCTION_LINES and not excused:
                complain(path, start, f"function of {number - start} lines, the limit is {FUNCTION_LINES}")
            start = None


def check(path):
    text = (ROOT / path).read_text()
    lines = text.split("\n")
    if len(lines) > FILE_LINES + 1:
        complain(path, 1, f"{len(lines)} lines, the limit is {FILE_LINES}")
    for number, line in enumerate(lines, 1):
        if line.startswith("#include"):
            check_include(path, number, line)
        if len(line) > COLUMNS and '"' not in line and "/*" not in line:
            complain(path, number, f"{len(line)} columns")
        if "\t" in line or line.endswith(" "):
            complain(path, number, "tab or trailing blank")
        code = re.sub(r'"(\\.|[^"\\])*"', '""', line.split("//")[0])
        m = BANNED.search(code)
        if m and not code.lstrip().startswith(("*", "/*")):
            complain(path, number, f"{m.group(1)}() is banned")
        if UNFINISHED.search(line):
            complain(path, number, "words of unfinished work")
    if path.suffix == ".c":
        check_functions(path, lines)


files = [p.relative_to(ROOT) for d in ("src", "fs", "http") for p in sorted((ROOT / d).rglob("*")) if p.suffix in (".c", ".h", ".cc")]
for f in files:
    check(f)
for p in problems:
    print(p)
print(f"lint: {len(files)} files, {len(problems)} problems")
sys.exit(1 if problems or not files else 0)
