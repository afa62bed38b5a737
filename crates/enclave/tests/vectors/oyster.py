"""Writes oyster.json from the formulas of Marlin Oyster's documents, with nothing but hashlib.

    python3 oyster.py > oyster.json
"""

import hashlib
import json


def le64(number):
    return number.to_bytes(8, "little")


def vector(params, pcrs):
    hashes = b""
    for path, measured, content in params:
        if measured:
            path, content = ("/init-params/" + path).encode(), content.encode()
            text = le64(len(path)) + path + le64(len(content)) + content
            hashes += hashlib.sha256(text).digest()
    digest = hashlib.sha256(hashes).digest()
    pcr16 = hashlib.sha384(bytes(48) + digest).digest()
    registers = (1 << 0 | 1 << 1 | 1 << 2 | 1 << 16).to_bytes(4, "big")
    image = hashlib.sha256(registers + b"".join(map(bytes.fromhex, pcrs)) + pcr16)
    return {
        "params": [dict(zip(("path", "measured", "content"), param)) for param in params],
        "pcrs": pcrs,
        "digest": digest.hex(),
        "pcr16": pcr16.hex(),
        "image_id": image.hexdigest(),
    }


compose = "services:\n  node:\n    image: r.example/node@sha256:" + "ab" * 32 + "\n"
amd64 = [
    "7d08525c48ff4b28d4539924f9944957cb30973be51a3bcefa2a284e504d91636d35be6d17fed21a520a755f115b0330",
    "ed7759aa996a2e94c6086f24f61f354f75f9ea7f93a74f55d65c2cb5590d1af3930c9adbc57bb543764fa1f5c444f495",
    "4b23d52967848dbbb7a4b8373282c9fa1629e65febf04d4887ac3f58e4a98ca7519b3d0512fec4008dfa09b5c41b99c1",
]
other = ["11" * 48, "22" * 48, "33" * 48]
first = ("docker-compose.yml", True, compose)
print(
    json.dumps(
        [
            vector([first], amd64),
            vector([first, ("node.toml", True, "listen = \"0.0.0.0:443\"\n")], amd64),
            vector([first, ("open", False, "x"), ("a/b", True, "ä")], other),
            vector([("docker-compose.yml", True, "")], other),
        ],
        indent=1,
        ensure_ascii=False,
    )
)
