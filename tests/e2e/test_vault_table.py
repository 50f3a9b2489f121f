"""Statuses and bodies of Vault's dialect beside those of OpenBao 2.7.2, recorded once.

tests/data/vault-cases.txt has the requests in order, one a line:

    METHOD path [body] [@TOKEN] [+Header:value] [>NAME=json.path]

TOKEN is a name saved before, or `none`; ROOT is the root token. tests/data/vault-answers.json has for each line the
status and the body, normalized (times, keys, tokens and so on become letters); null where the two servers differ on
purpose: then the request is only made. Record again, and see what differs, with

    python3 test_vault_table.py URL TOKEN OTHER_URL OTHER_TOKEN
"""
import json
import pathlib
import re
import sys

import requests

DATA = pathlib.Path(__file__).parents[1] / "data"
ABSENT = ("request_id", "lease_id", "renewable", "lease_duration", "wrap_info", "warnings", "auth", "data")


def parse(line):
    saves = re.findall(r" >(\w+)=(\S+)", line)
    line = re.sub(r" >\w+=\S+", "", line)
    token = re.search(r" @(\S+)", line)
    line = line.replace(token.group(0), "", 1) if token else line
    headers = dict(re.findall(r" \+([\w-]+):(\S+)", line))
    line = re.sub(r" \+[\w-]+:\S+", "", line)
    method, path, body = (line.split(" ", 2) + [None])[:3]
    return method, path, body, token.group(1) if token else "ROOT", headers, saves


def dig(value, path):
    for key in path.split("."):
        value = value[int(key)] if isinstance(value, list) else value[key]
    return value


def normalize(response):
    try:
        body = response.json()
    except ValueError:
        return response.text.strip()
    if isinstance(body, dict):
        for key in ABSENT:
            if key == "request_id" or (key in body and body[key] in (None, "", False, 0)):
                body.pop(key, None)
    text = json.dumps(body, sort_keys=True)
    for pattern, by in (
        (r"-----BEGIN([^-]*)-----.*?-----END[^-]*-----(\\n)?", r"PEM\1\2"),
        (r"vault:v(\d+):[A-Za-z0-9+/=_-]+", r"vault:v\1:X"),
        (r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "T"),
        (r'"(public_key|random_bytes|plaintext|backup|accessor|client_token|token|migration_id|secret_id|secret_id_accessor'
         r'|wrapped_accessor|role_id|entity_id|uuid|cluster_id|response|id)": "[^"]{6,}"', r'"\1": "X"'),
        (r'"(creation_time|last_renewal_time|server_time_utc|encryptions)": \d+', r'"\1": N'),
        (r'"(\d+)": 1\d{9}', r'"\1": N'),
        (r'"(\d+)": "[A-Za-z0-9+/=]{40,}"', r'"\1": "K"'),
        (r"1 error occurred:\\n\\t\* (.*?)\\n\\n", r"\1"),
        (r"OpenBao server logs?|OpenBao's server logs?|the server's log", "the log"),
        (r"_[0-9a-f]{8}\"", "_X\""),
    ):
        text = re.sub(pattern, by, text)
    return re.sub(r'"(ttl|lease_duration)": (\d+)', lambda m: f'"{m[1]}": {round(int(m[2]) / 10) * 10}', text)


LEFT = r'(?<="ttl": )\d+|(?<="lease_duration": )\d+'


def alike(want, got):
    """But for the time that is left of something, of which a busy machine takes more."""
    if not isinstance(want, str) or not isinstance(got, str):
        return want == got
    left = [[int(n) for n in re.findall(LEFT, text)] for text in (want, got)]
    return re.sub(LEFT, "N", want) == re.sub(LEFT, "N", got) and all(a == b or a - 100 <= b < a and b > 0 for a, b in zip(*left))


def play(url, root):
    """Yields each line with its status and normalized body."""
    saved = {"ROOT": root, "none": ""}

    def fill(text):
        return re.sub(r"\$\{(\w+)\}", lambda m: str(saved.get(m[1], m[0])), text)

    session = requests.Session()
    session.trust_env = False
    for line in (DATA / "vault-cases.txt").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        method, path, body, token, headers, saves = parse(line)
        headers = {name: fill(value) for name, value in headers.items()}
        if saved.get(token, token):
            headers["X-Vault-Token"] = saved.get(token, token)
        r = session.request(method, f"{url}/v1/{fill(path)}", data=fill(body) if body else None, headers=headers,
                            allow_redirects=False, timeout=60)
        for name, where in saves:
            saved[name] = dig(r.json(), where)
        yield line, r.status_code, normalize(r)


def client_fault(status):
    """OpenBao answers many a client's fault with 500; here it is always 400."""
    return 400 if status == 500 else status


def test_answers_are_those_of_openbao(daemon):
    recorded = json.loads((DATA / "vault-answers.json").read_text())
    played = list(play(daemon.url, daemon.root_token))
    assert [line for line, _, _ in played] == [line for line, _ in recorded]
    wrong = [f"{line}\n  want {want[0]} {want[1]}\n  got  {status} {body}"
             for (line, status, body), (_, want) in zip(played, recorded)
             if want is not None and not (status == want[0] and alike(want[1], body))]
    assert not wrong, "\n".join(wrong)
    assert sum(want is not None for _, want in recorded) > 400


if __name__ == "__main__":
    theirs, ours = list(play(*sys.argv[1:3])), list(play(*sys.argv[3:5]))
    rows = []
    for (line, status, body), (_, our_status, our_body) in zip(theirs, ours):
        want = [client_fault(status), body]
        same = want == [our_status, our_body]
        rows.append([line, want if same else None])
        if not same:
            print(f"{line}\n  theirs {want[0]} {want[1][:400]}\n  ours   {our_status} {our_body[:400]}")
    text = ",\n".join(json.dumps(row) for row in rows)
    (DATA / "vault-answers.json").write_text(f"[\n{text}\n]\n")
    print(sum(want is not None for _, want in rows), "of", len(rows))
