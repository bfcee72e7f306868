#!/bin/sh
# Prints the environment in which Aim's cgo code is built, as shell exports. This is the only place where compiler
# flags are chosen: the Makefile, .envrc and CI all read it, because the Go build cache keys llama.cpp (minutes of
# compiling) by these very strings.
#
#   AIM_CPU_FLAGS   instruction-set flags instead of those of this processor, e.g. "-march=x86-64-v3"
#   AIM_CACHE       where the linked headers live (default: $XDG_CACHE_HOME/aim, else ~/.cache/aim)
set -eu
cd "$(dirname "$0")/.."

cc=$(go env CC)
cache=${AIM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/aim}
include=$cache/include

die() {
	echo "env.sh: $*" >&2
	exit 1
}

# First folder of "$@" that exists.
first_dir() {
	for d in "$@"; do
		if [ -d "$d" ]; then
			echo "$d"
			return
		fi
	done
}

# link TARGET NAME: one header folder or file, relinked only when it moved so that concurrent builds never see a gap.
link() {
	if [ "$(readlink "$2" 2>/dev/null || true)" != "$1" ]; then
		mkdir -p "$(dirname "$2")"
		ln -sfn "$1" "$2"
	fi
}

# llama.cpp's vendored headers are missing from the Go module: module zips leave out folders named vendor.
module_dir() {
	dir=$(go list -m -f '{{.Dir}}' "$1" 2>/dev/null || true)
	if [ -z "$dir" ]; then
		go mod download "$1" >&2
		dir=$(go list -m -f '{{.Dir}}' "$1")
	fi
	echo "$dir"
}
ollama=$(module_dir github.com/ollama/ollama)
malgo=$(module_dir github.com/gen2brain/malgo)
prefix=$(brew --prefix 2>/dev/null || echo /usr/local)
nlohmann=$(first_dir /usr/include/nlohmann /usr/local/include/nlohmann "$prefix/include/nlohmann")
stb=$(first_dir /usr/include/stb /usr/local/include/stb "$prefix/include/stb")
[ -n "$nlohmann" ] || die "nlohmann/json.hpp not found: install nlohmann-json3-dev (Debian, Ubuntu), json-devel (Fedora) or nlohmann-json (Homebrew)"
[ -n "$stb" ] || die "stb/stb_image.h not found: install libstb-dev (Debian, Ubuntu) or stb-devel (Fedora), or put stb_image.h into /usr/local/include/stb"
link "$nlohmann" "$include/nlohmann"
link "$stb" "$include/stb"
link "$malgo/miniaudio.h" "$include/miniaudio/miniaudio.h"

# The number is raised with every change of relax.h.
relax=$include/aim-relax-2.h
if ! cmp -s scripts/relax.h "$relax"; then
	cp scripts/relax.h "$relax.$$"
	mv "$relax.$$" "$relax"
fi

# x86_flags names this processor: the -march that "native" stands for, and each feature in which it differs from that
# name. "native" itself would let one build cache mix the objects of different processors. AMX counts as absent: the
# binding's module lacks the Go file that would compile ggml's AMX sources, so they would fail to link.
x86_flags() {
	native=$($cc -march=native -Q --help=target 2>/dev/null || true)
	name=$(echo "$native" | awk '$1 == "-march=" { print $2; exit }')
	if [ -z "$name" ]; then # not gcc: the level that AVX2 stands for, if the processor has it
		{ cat /proc/cpuinfo || sysctl -n machdep.cpu.leaf7_features; } 2>/dev/null | grep -qiw avx2 && echo -march=x86-64-v3
		return 0
	fi
	{
		$cc "-march=$name" -Q --help=target | sed 's/^/name /'
		echo "$native" | sed 's/^/native /'
	} | awk -v march="-march=$name" '
		$3 !~ /^\[(enabled|disabled)\]$/ { next }
		$1 == "name" { base[$2] = $3; next }
		$2 ~ /^-mamx/ { $3 = "[disabled]" }
		base[$2] == $3 { next }
		$3 == "[enabled]" { march = march " " $2; next }
		{ sub(/^-m/, "-mno-", $2); march = march " " $2 }
		END { print march, "-Wno-stringop-overflow" }'
}

cpu_flags() {
	case $(uname -m) in
	x86_64) x86_flags ;;
	aarch64)
		$cc -mcpu=native -Q --help=target 2>/dev/null | awk '$1 == "-mcpu=" && $2 != "" { print "-mcpu=" $2; exit }'
		;;
	esac
}

opt="-O3 ${AIM_CPU_FLAGS-$(cpu_flags)}"
cat <<EOF
export CGO_ENABLED=1
export CGO_CFLAGS='$opt -include $relax'
export CGO_CXXFLAGS='$opt'
export CGO_CPPFLAGS='-I$include -I$ollama/llama/llama.cpp/include -I$ollama/ml/backend/ggml/ggml/include'
EOF
