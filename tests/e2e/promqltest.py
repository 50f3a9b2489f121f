"""Prometheus' own language of PromQL tests: reads files of it, loads their samples by remote write, floats
and native histograms, and compares what a server answers. test_promql.py runs it.

A file is a list of sections, each with an empty database. To keep one server for most of them, a section is
moved in time: `shift` is added to all of its samples and queries. Those whose outcome depends on the time
itself (needs_epoch) are not moved and get a server of their own."""
import json
import math
import re
import struct

import requests

STALE = 0x7FF0000000000002
UNITS = {"ms": 1, "s": 1000, "m": 60000, "h": 3600000, "d": 86400000, "w": 604800000, "y": 31536000000}
TEXT = r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|`[^`]*`'
NUMBER = r"[-+]?(?:0x[0-9a-fA-F]+|[Nn]a[Nn]|[Ii]nf|(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
EPOCH = re.compile(r"@|\b(time|timestamp|start|end|start_timestamp|ts_of_\w+|predict_linear|hour|minute|month|year|day\w*|days\w*)\b")


def duration(text):
    if text == "0":
        return 0
    parts = re.findall(r"(\d+)(ms|[smhdwy])", text)
    if not parts or "".join(a + b for a, b in parts) != text.lstrip("-"):
        raise ValueError(f"duration {text}")
    return sum(int(a) * UNITS[b] for a, b in parts) * (-1 if text.startswith("-") else 1)


def number(text):
    t = text.lower().lstrip("+")
    if t.lstrip("-").startswith("0x"):
        return float(int(t, 16))
    return float(t)


def unquote(text):
    if text[0] == "`":
        return text[1:-1]
    plain = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}

    def escape(m):
        c = m.group(1)
        return plain.get(c) or (chr(int(c[1:], 16)) if c[0] in "xuU" else chr(int(c, 8)))
    return re.sub(r'\\([ntr\\"\'abfv]|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3})', escape, text[1:-1])


class Histogram:
    """Buckets by index, with the counts as they are: +, - and the form of the API."""

    def __init__(self, text=""):
        self.fields = {"schema": 0, "sum": 0.0, "count": 0.0, "z_bucket": 0.0, "z_bucket_w": 0.0}
        self.custom, self.hint = [], None
        self.sides = {"": {}, "n_": {}}
        lists, offsets = {"": [], "n_": []}, {"": 0, "n_": 0}
        for m in re.finditer(r"(\w+):(\[[^\]]*\]|\S+)", text):
            key, value = m.groups()
            values = [number(v) for v in value.strip("[]").split()] if value[0] == "[" else None
            if key in ("buckets", "n_buckets"):
                lists[key[:-7]] = values
            elif key in ("offset", "n_offset"):
                offsets[key[:-6]] = int(value)
            elif key == "custom_values":
                self.custom = values
            elif key == "counter_reset_hint":
                self.hint = value
            elif key == "schema":
                self.fields["schema"] = int(value)
            else:
                self.fields[key] = number(value)
        for side in ("", "n_"):
            self.sides[side] = {offsets[side] + i: v for i, v in enumerate(lists[side])}

    def copy(self):
        h = Histogram()
        h.fields, h.custom, h.hint = dict(self.fields), list(self.custom), self.hint
        h.sides = {k: dict(v) for k, v in self.sides.items()}
        return h

    def coarsen(self, schema):
        if self.fields["schema"] < -4:
            return self
        h = self.copy()
        shift = self.fields["schema"] - schema
        for side, buckets in self.sides.items():
            h.sides[side] = {}
            for i, v in buckets.items():
                k = ((i - 1) >> shift) + 1
                h.sides[side][k] = h.sides[side].get(k, 0.0) + v
        h.fields["schema"] = schema
        return h

    def plus(self, other, sign):
        """As series descriptions need it: the step is brought to the schema of the sum."""
        h, other = self.copy(), other.coarsen(self.fields["schema"])
        for key in ("sum", "count", "z_bucket"):
            h.fields[key] += sign * other.fields[key]
        if other.fields["z_bucket_w"] > h.fields["z_bucket_w"]:
            h.fields["z_bucket_w"] = other.fields["z_bucket_w"]
        for side, buckets in other.sides.items():
            for i, v in buckets.items():
                h.sides[side][i] = h.sides[side].get(i, 0.0) + sign * v
        return h

    def bound(self, i):
        if self.fields["schema"] == -53:
            return -math.inf if i < 0 else math.inf if i >= len(self.custom) else self.custom[i]
        try:
            return 2.0 ** (i * 2.0 ** -self.fields["schema"])
        except OverflowError:
            return math.inf

    def api(self):
        """(count, sum, [(lower, upper, count)])"""
        buckets, zero = [], self.fields["z_bucket_w"]
        for i, v in sorted(self.sides["n_"].items(), reverse=True):
            upper = -self.bound(i - 1)
            buckets.append((-self.bound(i), -zero if upper > -zero else upper, v))
        if self.fields["z_bucket"] > 0:
            buckets.append((-zero, zero, self.fields["z_bucket"]))
        for i, v in sorted(self.sides[""].items()):
            lower = self.bound(i - 1)
            if self.fields["schema"] != -53 and lower < zero:
                lower = zero
            buckets.append((lower, self.bound(i), v))
        return self.fields["count"], self.fields["sum"], [b for b in buckets if b[2] != 0]

    def wire(self, ts):
        """The Histogram message of remote write 1.0, with counts as floats."""
        f = self.fields
        b = double(2, f["count"]) + double(3, f["sum"]) + varint_field(4, zigzag(f["schema"])) + double(5, f["z_bucket_w"]) + double(7, f["z_bucket"])
        for side, spans, counts in (("n_", 8, 10), ("", 11, 13)):
            indexes = sorted(self.sides[side])
            last = None
            runs = []
            for i in indexes:
                if last is None or i != last + 1:
                    runs.append([i - (0 if last is None else last + 1), 0])
                runs[-1][1] += 1
                last = i
            for offset, length in runs:
                b += field(spans, varint_field(1, zigzag(offset)) + varint_field(2, length))
            if indexes:
                b += field(counts, b"".join(struct.pack("<d", self.sides[side][i]) for i in indexes))
        b += varint_field(14, {"unknown": 0, "reset": 1, "not_reset": 2, "gauge": 3}[self.hint or "unknown"])
        b += varint_field(15, ts)
        if self.custom:
            b += field(16, b"".join(struct.pack("<d", v) for v in self.custom))
        return b


def varint(n):
    n &= (1 << 64) - 1
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def zigzag(n):
    return n << 1 if n >= 0 else (-n << 1) - 1


def field(n, b):
    return varint(n << 3 | 2) + varint(len(b)) + b


def varint_field(n, v):
    return varint(n << 3) + varint(v)


def double(n, v):
    return varint(n << 3 | 1) + struct.pack("<d", v)


def snappy(b):
    out = [varint(len(b))]
    for i in range(0, len(b), 65536):
        c = b[i:i + 65536]
        n = len(c) - 1
        out += [bytes([n << 2]) if n < 60 else bytes([60 << 2, n]) if n < 256 else bytes([61 << 2]) + struct.pack("<H", n), c]
    return b"".join(out)


def parse_labels(line):
    """The labels a line begins with, and where its values start."""
    m = re.match(r"[^\s{\"'`]+", line)
    labels, i = {}, 0
    if m and not line.startswith("{"):
        labels["__name__"] = m.group(0)
        i = m.end()
        brace = re.match(r"\s*\{(?!\{)", line[i:])
        i += brace.end() - 1 if brace else 0
    if i < len(line) and line[i] == "{" and line[i:i + 2] != "{{":
        i += 1
        while True:
            m = re.compile(r"\s*(?:(\})|(" + TEXT + r"|[^\s=,}]+)\s*(?:=\s*(" + TEXT + r"))?\s*,?)").match(line, i)
            if not m:
                raise ValueError(f"series {line}")
            i = m.end()
            if m.group(1):
                break
            key = unquote(m.group(2)) if m.group(2)[0] in "\"'`" else m.group(2)
            if m.group(3) is None:
                labels["__name__"] = key
            else:
                labels[key] = unquote(m.group(3))
    return labels, i


def parse_histograms(base, sign, step, times):
    h = Histogram(base)
    out = [h]
    for _ in range(int(times or 0)):
        h = h.plus(Histogram(step), -1 if sign == "-" else 1) if sign else h
        out.append(h)
    return out


def parse_values(text):
    """None: no sample; STALE; a float; a Histogram."""
    out, i = [], 0
    item = re.compile(r"\s*(?:\{\{(.*?)\}\}(?:([-+])\{\{(.*?)\}\})?(?:x(\d+))?|(\S+))")
    text = text.strip()
    while i < len(text):
        m = item.match(text, i)
        i = m.end()
        t = m.group(5)
        if t is None:
            out += parse_histograms(m.group(1), m.group(2), m.group(3), m.group(4))
        elif re.fullmatch(r"_(x\d+)?", t):
            out += [None] * int(t[2:] or 1)
        elif re.fullmatch(r"0x\d+", t):
            out += [0.0] * (int(t[2:]) + 1)
        elif m := re.fullmatch(r"(stale|" + NUMBER + r")(" + NUMBER + r")?x(\d+)", t):
            v, step = (STALE if m.group(1) == "stale" else number(m.group(1))), number(m.group(2)) if m.group(2) else 0.0
            for _ in range(int(m.group(3)) + 1):
                out.append(v)
                v = v if v is STALE else v + step
        else:
            out.append(STALE if t == "stale" else number(t))
    return out


def parse_series(line):
    labels, i = parse_labels(line)
    return labels, parse_values(line[i:])


def parse_starts(line):
    """Of a line NAME@st: the labels, and for each sample how far behind it its start lies; None: not told."""
    head, values = re.match(r"(\S+)@st\s+(.*)$", line).groups()
    length, out = r"[-+]?(?:0|\d+(?:ms|[smhdwy]))", []
    for item in values.split():
        if m := re.fullmatch(r"_(?:x(\d+))?", item):
            out += [None] * int(m.group(1) or 1)
            continue
        base, step, times = re.fullmatch(rf"({length})([-+]{length[5:]})?(?:x(\d+))?", item).groups()
        base, step = duration(base.lstrip("+")), duration(step.lstrip("+")) if step else 0
        out += [base + k * step for k in range(int(times or 0) + 1)]
    return parse_labels(head)[0], out


class Eval:
    def __init__(self, where, line):
        self.where, self.line = where, line
        self.fail, self.ordered, self.text, self.scalar = None, False, None, None
        self.notes = {"warn": [], "info": []}
        self.none = {"warn": False, "info": False}
        self.series, self.range, self.vector_times = [], None, None
        m = re.match(r"eval(?:_(\w+))?\s+instant\s+at\s+(\S+)\s+(.+)$", line)
        if m:
            self.at = duration(m.group(2))
        else:
            m = re.match(r"eval(?:_(\w+))?\s+range\s+from\s+(\S+)\s+to\s+(\S+)\s+step\s+(\S+)\s+(.+)$", line)
            self.range = tuple(duration(m.group(i)) for i in (2, 3, 4))
        self.query = m.group(m.lastindex)
        if m.group(1) == "fail":
            self.fail = True
        elif m.group(1) == "ordered":
            self.ordered = True
        elif m.group(1) in self.notes:
            self.notes[m.group(1)].append(True)

    def expect(self, line):
        m = re.match(r"expect\s+(ordered|fail|warn|no_warn|info|no_info)(?:\s+(regex|msg):(.+))?$", line)
        if m:
            what, value = m.group(1), (m.group(2), m.group(3).strip()) if m.group(2) else True
            if what in self.notes:
                self.notes[what].append(value)
            elif what.startswith("no_"):
                self.none[what[3:]] = True
            elif what == "fail":
                self.fail = value
            else:
                self.ordered = True
        elif line.startswith("expect range vector"):
            self.vector_times = tuple(duration(v) for v in re.findall(r"(?:from|to|step)\s+(\S+)", line))
        elif line.startswith("expect string "):
            self.text = unquote(line[14:].strip())
        elif line.startswith("expected_fail_message"):
            self.fail = ("msg", line[21:].strip())
        elif line.startswith("expected_fail_regexp"):
            self.fail = ("regex", line[20:].strip())
        elif re.fullmatch(NUMBER, line):
            self.scalar = number(line)
        else:
            self.series.append(parse_series(line))


class Load:
    def __init__(self, line):
        self.nhcb = "nhcb" in line.split()[0]
        self.step = duration(line.split()[1])
        self.rows = []


def sections(path):
    """[[Load or Eval, …], …]: each begins with an empty database."""
    lines = [line.strip() for line in open(path, encoding="utf-8")]
    lines = ["" if line.startswith("#") else line for line in lines]
    out, i = [[]], 0
    while i < len(lines):
        line, i = lines[i], i + 1
        if not line:
            continue
        block = []
        first = i
        while i < len(lines) and lines[i]:
            block.append(lines[i])
            i += 1
        if line.startswith("clear"):
            out.append([])
            i = first
        elif line.startswith("load"):
            item = Load(line)
            item.rows = block
            out[-1].append(item)
        else:
            item = Eval(f"{path.name}:{first}", line)
            for text in block:
                item.expect(text)
            out[-1].append(item)
    return [s for s in out if s]


def needs_epoch(section):
    return any(isinstance(item, Eval) and EPOCH.search(item.query) for item in section)


def with_nhcb(rows):
    """The native histograms of custom buckets that classic series make, beside them."""
    groups = {}
    for labels, values in rows:
        name = labels.get("__name__", "")
        m = re.fullmatch(r"(.*)_(bucket|count|sum)", name)
        if not m or (m.group(2) == "bucket" and "le" not in labels):
            continue
        key = tuple(sorted((k, v) for k, v in labels.items() if k not in ("le", "__name__"))) + (("__name__", m.group(1)),)
        g = groups.setdefault(key, {"bucket": {}, "count": None, "sum": None})
        if m.group(2) == "bucket":
            g["bucket"][number(labels["le"])] = values
        else:
            g[m.group(2)] = values
    for key, g in groups.items():
        if not g["bucket"]:
            continue
        bounds = sorted(g["bucket"])
        out = []
        for i in range(max(len(v) for v in g["bucket"].values())):
            counts = [(b, g["bucket"][b][i]) for b in bounds if i < len(g["bucket"][b]) and isinstance(g["bucket"][b][i], float)]
            if not counts:
                out.append(None)
                continue
            h = Histogram("schema:-53")
            h.custom = [b for b, _ in counts if not math.isinf(b)]
            before = 0.0
            for k, (_, v) in enumerate(counts):
                if v != before:
                    h.sides[""][k] = v - before
                before = v
            total = g["count"][i] if g["count"] and i < len(g["count"]) and isinstance(g["count"][i], float) else before
            if not math.isinf(counts[-1][0]) and total != before:
                h.sides[""][len(h.custom)] = total - before
            h.fields["count"] = total
            if g["sum"] and i < len(g["sum"]) and isinstance(g["sum"][i], float):
                h.fields["sum"] = g["sum"][i]
            out.append(h)
        yield dict(key), out


def almost(a, b, epsilon=1e-6):
    """Equal, as promqltest has it."""
    if a != a or b != b:
        return a != a and b != b
    if a == b:
        return True
    if math.isinf(a) or math.isinf(b):
        return False
    total, difference, tiny = abs(a) + abs(b), abs(a - b), 2.2250738585072014e-308
    if a == 0 or b == 0 or total < tiny:
        return difference < epsilon * tiny
    return difference / min(total, 1.7976931348623157e308) < epsilon


def same_value(want, got):
    if isinstance(want, Histogram) != isinstance(got, dict):
        return False
    if not isinstance(want, Histogram):
        return almost(want, got)
    count, total, buckets = want.api()
    theirs = [tuple(float(x) for x in b[1:]) for b in got.get("buckets", [])]
    return (almost(count, float(got["count"])) and almost(total, float(got["sum"])) and len(theirs) == len(buckets) and
            all(almost(x, y) for a, b in zip(buckets, theirs) for x, y in zip(a, b)))


class Message:
    """Of remote write: 1.0, or 2.0 where samples have start times."""

    def __init__(self, second):
        self.second, self.symbols, self.body = second, {"": 0}, []

    def labels(self, labels):
        if not self.second:
            return b"".join(field(1, field(1, k.encode()) + field(2, v.encode())) for k, v in labels if v != "")
        return field(1, b"".join(varint(self.symbols.setdefault(t, len(self.symbols))) for k, v in labels if v != "" for t in (k, v)))

    def add(self, labels, samples):
        """samples: (time, value, start; 0: not told)"""
        b = self.labels(labels)
        for ts, v, start in samples:
            if isinstance(v, Histogram):
                b += field(3 if self.second else 4, v.wire(ts) + (varint_field(17, start) if start else b""))
            else:
                sample = b"\x09" + (struct.pack("<Q", STALE) if v is STALE else struct.pack("<d", v)) + varint_field(2, ts)
                b += field(2, sample + (varint_field(3, start) if start else b""))
        self.body.append(field(5 if self.second else 1, b))

    def bytes(self):
        symbols = b"".join(field(4, t.encode()) for t in self.symbols) if self.second else b""
        return symbols + b"".join(self.body)

    def headers(self):
        return {"Content-Type": "application/x-protobuf" + (";proto=io.prometheus.write.v2.Request" if self.second else ""),
                "Content-Encoding": "snappy", "X-Prometheus-Remote-Write-Version": "2.0.0" if self.second else "0.1.0"}


class Server:
    """Where a section runs."""

    def __init__(self, url, auth):
        self.url, self.shift = url, 0
        self.session = requests.Session()
        self.session.auth = auth

    def load(self, load):
        rows, starts, parsed = {}, {}, []
        for row in load.rows:
            if re.match(r"\S+@st\s", row):
                labels, offsets = parse_starts(row)
                starts[tuple(sorted(labels.items()))] = offsets
            else:
                parsed.append(parse_series(row))
        for labels, values in parsed + (list(with_nhcb(parsed)) if load.nhcb else []):
            rows[tuple(sorted(labels.items()))] = values
        assert set(starts) <= set(rows), "@st of a series that has no samples"
        message = Message(bool(starts))
        for labels, values in rows.items():
            offsets = starts.get(labels, [None] * len(values))
            assert len(offsets) == len(values), f"{labels}: {len(values)} samples, {len(offsets)} starts"
            samples = []
            for i, (v, offset) in enumerate(zip(values, offsets)):
                ts = i * load.step + self.shift
                if v is not None:
                    samples.append((ts, v, 0 if offset is None else ts + offset))
            if samples:
                message.add(labels, samples)
        r = self.session.post(self.url + "/api/v1/write", data=snappy(message.bytes()), headers=message.headers())
        assert r.status_code // 100 == 2, f"remote write: {r.status_code} {r.text}"

    def query(self, query, at=None, span=None):
        form = {"query": query}
        if span:
            for key, ms in zip(("start", "end", "step"), (span[0] + self.shift, span[1] + self.shift, span[2])):
                form[key] = f"{ms / 1000:.3f}"
        else:
            form["time"] = f"{(at + self.shift) / 1000:.3f}"
        r = self.session.post(self.url + ("/api/v1/query_range" if span else "/api/v1/query"), data=form)
        return json.loads(r.text)


def matches(want, text, end=False):
    if want is True:
        return True
    kind, value = want
    return bool(re.search(value, text)) if kind == "regex" else text == value or (end and text.endswith(value))


def check_notes(e, answer):
    for kind, key in (("warn", "warnings"), ("info", "infos")):
        got = answer.get(key, [])
        for want in e.notes[kind]:
            if not any(matches(want, g) for g in got):
                return f"no {kind} like {want!r} in {got!r}"
        if e.notes[kind] and not all(any(matches(w, g) for w in e.notes[kind]) for g in got):
            return f"unexpected {kind} in {got!r}"
        if e.none[kind] and got:
            return f"unexpected {key}: {got!r}"
    return None


def rows_of(data, at, shift):
    """{labels: (place, [(time, value)])}, of one moment if `at` is given."""
    out = {}
    result = data["result"] if data["resultType"] != "scalar" else [{"metric": {}, "value": data["result"]}]
    for i, item in enumerate(result):
        samples = item.get("values", []) + item.get("histograms", []) + [item[k] for k in ("value", "histogram") if k in item]
        samples = sorted(((round(t * 1000) - shift, v if isinstance(v, dict) else float(v)) for t, v in samples), key=lambda s: s[0])
        if at is not None:
            samples = [s for s in samples if s[0] == at]
        if samples:
            key = tuple(sorted(item["metric"].items()))
            assert key not in out, f"twice: {key}"
            out[key] = (i, samples)
    return out


def check(e, answer, shift, at=None):
    """None, or what is wrong. `at`: only that moment of a range."""
    if answer["status"] != "success":
        text = answer.get("error", "")
        return None if e.fail and matches(e.fail, text, end=True) else f"error: {text}"
    if e.fail:
        return "it should fail"
    wrong = check_notes(e, answer) if at is None else None  # other moments of a range may be annotated
    if wrong:
        return wrong
    data = answer["data"]
    if e.text is not None:
        return None if data["resultType"] == "string" and data["result"][1] == e.text else f"no string {e.text!r}: {data}"
    got = rows_of(data, at, shift)
    if e.scalar is not None:
        values = [v for _, samples in got.values() for _, v in samples]
        if at is None and data["resultType"] != "scalar":
            return f"expected a scalar, got {data['resultType']}"
        return None if len(values) == 1 and almost(e.scalar, values[0]) else f"expected {e.scalar}, got {values}"
    return check_rows(e, data["resultType"], got, at)


def check_rows(e, kind, got, at):
    want = {}
    for i, (labels, values) in enumerate(e.series):
        if kind == "matrix" and at is None:
            start, _, step = e.range or e.vector_times
            samples = [(start + k * step, v) for k, v in enumerate(values) if v is not None]
        else:
            samples = [(at if at is not None else e.at, values[0])]
        want[tuple(sorted((k, v) for k, v in labels.items() if v != ""))] = (i, samples)
    if set(got) != set(want):
        return f"only expected {sorted(set(want) - set(got))[:2]}, only got {sorted(set(got) - set(want))[:2]}"
    for key, (place, samples) in want.items():
        theirs = got[key][1]
        if [t for t, _ in samples] != [t for t, _ in theirs]:
            return f"{key}: times {[t for t, _ in samples][:12]}, got {[t for t, _ in theirs][:12]}"
        for (t, x), (_, y) in zip(samples, theirs):
            if not same_value(x, y):
                return f"{key} at {t}: expected {x.api() if isinstance(x, Histogram) else x}, got {y}"
        if e.ordered and at is None and place != got[key][0]:
            return f"{key}: place {got[key][0]}, expected {place}"
    return None


def run_eval(server, e):
    """None, or what is wrong. An instant is asked as part of a range too, as Prometheus' runner does."""
    if e.range:
        return check(e, server.query(e.query, span=e.range), server.shift)
    at = e.vector_times[1] if e.vector_times else e.at
    wrong = check(e, server.query(e.query, at=at), server.shift)
    plain = not (e.vector_times or e.text is not None or e.ordered or e.fail or re.search(r"(start|end|range|step)\(\)", e.query))
    if wrong is None and plain:
        wrong = check(e, server.query(e.query, span=(at - 60000, at + 60000, 60000)), server.shift, at)
        wrong = wrong and "as part of a range: " + wrong
    return wrong
