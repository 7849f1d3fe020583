#!/usr/bin/env bash
# Bundle the studio's editor from the npm registry, by the lock file, into the page's folder. Needs node and npm; run it
# only to change the editor: the bundle is part of the repository.
set -euo pipefail
cd "$(dirname "$0")"
target=../../api/studio/static/vendor/editor
npm ci --no-audit --no-fund --silent
mkdir -p "$target"
npx esbuild editor.js --bundle --format=esm --minify --target=es2022 --legal-comments=none --outfile="$target/editor.js"
{
  echo "The bundle editor.js holds these packages, made by scripts/editor/build.sh:"
  for package in $(npm ls --omit=optional --all --parseable | tail -n +2 | grep -v esbuild | sort); do
    node -e 'const p = require(process.argv[1] + "/package.json"); console.log(`\n${p.name} ${p.version} (${p.license})`)' "$package"
    cat "$package"/LICENSE*
  done
} > "$target/LICENSES.txt"
(cd "$target" && sha256sum editor.js LICENSES.txt > SHA256SUMS)
rm -rf node_modules
