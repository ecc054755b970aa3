#!/bin/sh
# Installs the peer in Node.js into the folder $1, with the commands of the folder $2 (cmake) in front of the PATH. Node's
# runtime client is compiled. Where that is not possible, the file not-installed has the reason, for the benchmark's table.
set -u
source=$(cd "${0%/*}" && pwd)
rm -rf "$1" && mkdir -p "$1" && PATH="$(cd "$2" && pwd):$PATH" && cd "$1" || exit

give_up() {
	echo "$1" > not-installed
	echo "The peer in Node.js is not measured: $1" >&2
	exit 0
}

for command in node npm cmake c++ make; do
	command -v "$command" > /dev/null || give_up "$command is not on the PATH"
done
# node-gyp would download Node's headers. Most installations of Node have them.
prefix=$(node -p 'path.dirname(path.dirname(process.execPath))')
if [ -e "$prefix/include/node/node_api.h" ]; then export npm_config_nodedir="$prefix"; fi

cp "$source/package.json" "$source/package-lock.json" .
npm ci --no-audit --no-fund --foreground-scripts > install.log 2>&1 ||
	give_up "npm cannot install it ($(grep -iEm1 '(^|[^a-z])(error|fatal)[: !]' install.log || tail -n 1 install.log))"
touch .installed
