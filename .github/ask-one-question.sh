#!/bin/sh
# Installs a wheel or an sdist into a new environment, builds an index of the example help centre and asks it one question.
#   .github/ask-one-question.sh dist/clockify_rag-0.1.0-cp311-abi3-manylinux_2_28_x86_64.whl
set -eu
package=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
pages=$(cd "$(dirname "$0")/.." && pwd)/examples/help-center/docs
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/clean"
"$work/clean/bin/python" -m pip install --quiet --disable-pip-version-check "$package"

cd "$work"
clean/bin/clockify-rag build "$pages" --index index
clean/bin/clockify-rag ask "I forgot my password" --index index
clean/bin/clockify-rag ask "I forgot my password" --index index --json --fail-on-refusal > answer.json
clean/bin/python - <<'PYTHON'
import json

with open("answer.json", encoding="utf-8") as file:
    cited = {citation["path"] for citation in json.load(file)["citations"]}
assert "account/password-and-lockout.md" in cited, f"the answer cites {sorted(cited)}"
PYTHON
