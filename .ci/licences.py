"""Reads `cargo metadata` and fails when a dependency's licence is not one that we may ship."""

import json
import sys

ALLOWED = {
    "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "MIT", "MIT-0", "BSD-1-Clause", "BSD-2-Clause", "BSD-3-Clause",
    "ISC", "MPL-2.0", "Zlib", "0BSD", "BSL-1.0", "CC0-1.0", "Unlicense", "Unicode-3.0", "OpenSSL",
    "CDLA-Permissive-2.0", "NCSA",
}


def allowed(expression: str) -> bool:
    """Evaluates an SPDX expression: one side of an OR is enough, each side of an AND is needed."""
    words = expression.replace("/", " OR ").replace("(", " ( ").replace(")", " ) ").split()

    def alternatives() -> bool:
        result = terms()
        while words and words[0] == "OR":
            words.pop(0)
            other = terms()
            result = result or other
        return result

    def terms() -> bool:
        result = term()
        while words and words[0] == "AND":
            words.pop(0)
            other = term()
            result = result and other
        return result

    def term() -> bool:
        word = words.pop(0)
        if word == "(":
            result = alternatives()
            words.pop(0)
            return result
        if words and words[0] == "WITH":
            words.pop(0)
            word = f"{word} WITH {words.pop(0)}"
        return word in ALLOWED

    return alternatives()


packages = json.load(sys.stdin)["packages"]
bad = [p for p in packages if not allowed(p.get("license") or "none")]
for package in bad:
    print(f"{package['name']} {package['version']}: {package.get('license')}")
print(f"licences: {len(packages)} packages, {len(bad)} not allowed")
sys.exit(bool(bad))
