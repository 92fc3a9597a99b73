#!/usr/bin/env bash
# Puts deliberate bugs into a copy of the tree, one at a time, and shows that the
# tests see each of them: e2e/mutants/NN-name.patch holds the bug and names the
# tests that are expected to fail. A bug that lives is a test that is missing.
#
#   scripts/mutants.sh                     all of them
#   scripts/mutants.sh gap 07              those with "gap" or "07" in their name
#   MUTANT_TIMES=3 scripts/mutants.sh gap  each three times: caught every time, or by luck?
#
# A patch begins with "# bug: what is wrong" and "# tests: PACKAGE [go test
# flags]". The model test plays the same scripts each time. The caller's tree is read, with what is not committed, and never changed.
set -euo pipefail
cd "$(dirname "$0")/.."

: "${MUTANT_TIMES:=1}"
: "${MUTANT_LIMIT:=150}" # seconds for the tests of one mutant; a hang is a bug that was seen

# What a mutant called "./e2e/model" is played.
model=(./e2e/model -run '^TestModel$' -model.steps 400000 -model.shrink 0)

patches=()
for patch in e2e/mutants/*.patch; do
  name=$(basename "$patch" .patch)
  wanted=$(($# == 0))
  for part in "$@"; do
    [[ $name != *"$part"* ]] || wanted=1
  done
  ((wanted == 0)) || patches+=("$name")
done
if ((${#patches[@]} == 0)); then
  echo "mutants: no mutant is named like $*: they are the files of e2e/mutants" >&2
  exit 1
fi

tmp=$(mktemp -d)
tree=$tmp/tree log=$tmp/log
child=
finish() {
  [[ -z $child ]] || kill "$child" 2>/dev/null || true
  rm -rf "$tmp"
}
trap finish EXIT
trap 'exit 130' INT TERM
mkdir "$tree"
git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' f; do
  [[ ! -e $f ]] || printf '%s\0' "$f" # deleted and not committed yet
done | tar --null -cf - -T - | tar -xf - -C "$tree"
export GIT_CEILING_DIRECTORIES=$tmp # the copy is no repository, nor part of one

# tests_of NAME: its tests, as arguments of go test.
tests_of() {
  local line
  line=$(sed -n 's/^# tests: //p' "e2e/mutants/$1.patch")
  if [[ -z $line ]]; then
    echo "mutants: e2e/mutants/$1.patch names no tests: want a line \"# tests: PACKAGE [flags]\" above the diff" >&2
    return 1
  fi
  read -ra args <<<"$line"
  if [[ $line == ./e2e/model ]]; then
    args=("${model[@]}")
  fi
}

# play ARGS...: runs tests in the copy, within the limit, and leaves the exit
# code in $code. Paths are trimmed, so that the next run finds what this one
# built.
play() {
  local limit=$1
  shift
  code=0
  (cd "$tree" && exec timeout --kill-after=5 "$limit" go test -trimpath -vet=off -count=1 -failfast -v -timeout 0 "$@") >"$log" 2>&1 </dev/null &
  child=$!
  wait "$child" || code=$?
  child=
}

# catcher tells which test saw the bug.
catcher() {
  local test
  if ((code == 124 || code == 137)); then
    test=$(sed -n 's/^=== RUN *//p' "$log" | tail -n 1)
    echo "${test:-the tests}: a hang"
    return
  fi
  test=$(sed -n 's/^ *--- FAIL: \([^ ]*\).*/\1/p' "$log" | head -n 1)
  echo "${test:-$(grep -m 1 -E '^(panic|fatal error|FAIL)' "$log" | cut -c 1-60)}"
}

started=$SECONDS
echo "without a mutant:"
declare -A played
for name in "${patches[@]}"; do
  tests_of "$name"
  [[ -z ${played["${args[*]}"]:-} ]] || continue
  played["${args[*]}"]=1
  began=$SECONDS
  play $((4 * MUTANT_LIMIT)) "${args[@]}"
  if ((code != 0)); then
    tail -n 60 "$log" >&2
    echo "mutants: these tests fail without a mutant: go test ${args[*]}" >&2
    exit 1
  fi
  if ! grep -q '^=== RUN' "$log"; then
    echo "mutants: there are no such tests: go test ${args[*]} (mutant $name)" >&2
    exit 1
  fi
  echo "  ok  $((SECONDS - began))s  ${args[*]}"
done

echo
row() { printf '%-34s  %-58s  %s\n' "$1" "$2" "$3"; }
row mutant "caught by" seconds
lived=() stale=()
for name in "${patches[@]}"; do
  tests_of "$name"
  if ! git -C "$tree" apply "e2e/mutants/$name.patch" 2>"$log"; then
    row "$name" "DOES NOT APPLY" -
    sed 's/^/    /' "$log" >&2
    stale+=("$name")
    continue
  fi
  for ((n = 0; n < MUTANT_TIMES; n++)); do
    began=$SECONDS
    play "$MUTANT_LIMIT" "${args[@]}"
    took=$((SECONDS - began))
    if ((code == 0)); then
      row "$name" "LIVES: go test ${args[*]}" "$took"
      lived+=("$name")
    elif grep -qE '\[(build|setup) failed\]' "$log"; then
      row "$name" "DOES NOT BUILD" "$took"
      grep -m 5 -E '\.go:[0-9]+' "$log" >&2 || true
      stale+=("$name")
      break
    else
      row "$name" "$(catcher)" "$took"
    fi
  done
  git -C "$tree" apply -R "e2e/mutants/$name.patch"
done

echo
echo "mutants: ${#patches[@]} in $((SECONDS - started))s, ${#lived[@]} lived, ${#stale[@]} could not be tried"
if ((${#stale[@]} > 0)); then
  cat <<HELP
Renew ${stale[*]}: the code has changed under it. Make the same mistake by hand in a clean tree,
and then: { sed -n '/^#/p' e2e/mutants/NAME.patch; git diff; } > new && mv new e2e/mutants/NAME.patch && git checkout -- '*.go'
HELP
fi
if ((${#lived[@]} > 0)); then
  echo "A mutant that lives is a test that is missing: $(printf '%s\n' "${lived[@]}" | sort -u | paste -sd ' ')"
fi
((${#lived[@]} + ${#stale[@]} == 0))
