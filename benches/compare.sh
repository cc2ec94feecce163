#!/usr/bin/env bash
# The same question to other programs: who fails to log in at least five times within 60 s?
#
#   benches/compare.sh [FOLDER]          default: a folder of its own under ${TMPDIR:-/tmp}
#
# Installs what it needs into FOLDER (rsigma from crates.io, DuckDB from PyPI; mawk and SEC where they are installed),
# generates one workload, checks that every program finds what the generator knows, and prints the medians of ROUNDS runs,
# taken in turn so that a noisy machine is noisy for all. A program that is missing or answers wrongly is left out, and
# the script says so. ROUNDS=5 EVENTS=1000000 SEED=42 can be set; SKIP="rsigma duckdb" leaves programs out.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
folder=${1:-${TMPDIR:-/tmp}/tripline-compare}
rounds=${ROUNDS:-5} events=${EVENTS:-1000000} seed=${SEED:-42} skip=" ${SKIP:-} "
mkdir -p "$folder"
cd "$folder"

say() { printf '%s\n' "$*" >&2; }
skipped() { [[ $skip == *" $1 "* ]]; }

tripline=${TRIPLINE:-$here/target/release/tripline}
if [[ ! -x $tripline ]]; then
    (cd "$here" && cargo build --release)
fi
if ! skipped rsigma && [[ ! -x rsigma/bin/rsigma ]]; then
    say "building rsigma 0.23.0 (the last for Rust 1.95; some minutes)"
    cargo install rsigma --version 0.23.0 --locked --features daachorse-index --root rsigma >rsigma.log 2>&1 ||
        say "rsigma does not build here: see $folder/rsigma.log"
fi
if ! skipped duckdb && [[ ! -x python/bin/python ]]; then
    python3 -m venv python && python/bin/pip install --quiet duckdb || say "DuckDB cannot be installed here"
fi

# ---- the workload, and what must be found
for layout in ndjson pipe; do
    [[ -s $layout.log && -s $layout.truth ]] ||
        "$tripline" bench generate access --events "$events" --seed "$seed" --layout $layout --out $layout.log >$layout.truth
done
read -r users findings < <(sed 's/.*"by_user":{"entities":\([0-9]*\),"findings":\([0-9]*\)}.*/\1 \2/' ndjson.truth)
say "$events events, seed $seed: $users users cross the threshold, with $findings events at or over it"
[[ -s wide.log ]] || "$tripline" bench generate access --events 200000 --seed "$seed" --layout wide --out wide.log >wide.truth
for count in 10 3000; do
    "$tripline" bench generate rules --count $count --out rules-$count.ron
    "$tripline" bench generate rules --count $count --language sigma --out rules-$count.yml
done

cat >brute.yml <<'Y'
title: Login failure
id: 5f1f0c1a-0001-4000-8000-000000000001
name: login_failure
status: test
logsource: {product: keyrunner, service: access}
detection:
  selection: {action: 'Login failure'}
  condition: selection
level: informational
---
title: Five login failures of one user in 60 s
id: 5f1f0c1a-0001-4000-8000-000000000002
correlation:
  type: event_count
  rules: [5f1f0c1a-0001-4000-8000-000000000001]
  group-by: [user]
  timespan: 60s
  condition: {gte: 5}
level: high
Y
cat >brute.awk <<'A'
BEGIN { FS = " [|] " }
$5 == "Login failure" {
    t = substr($1, 12, 2) * 3600 + substr($1, 15, 2) * 60 + substr($1, 18, 2)
    u = $3
    n = ++count[u]
    ring[u, n % 5] = t
    if (n >= 5 && t - ring[u, (n + 1) % 5] < 60) findings++
}
END { print findings }
A
cat >brute.py <<'P'
import duckdb, sys
print(duckdb.connect().execute("""
    SET threads = 1;
    SELECT count(DISTINCT u) FROM (
        SELECT "user" AS u, count(*) OVER (PARTITION BY "user" ORDER BY "time" RANGE BETWEEN INTERVAL 59 SECOND PRECEDING AND CURRENT ROW) AS n
        FROM read_json(?, format = 'newline_delimited', columns = {time: 'TIMESTAMP', "user": 'VARCHAR', action: 'VARCHAR'})
        WHERE action = 'Login failure') WHERE n >= 5""", [sys.argv[1]]).fetchall()[0][0])
P
cat >brute.sec <<'S'
type=SingleWithThreshold
ptype=RegExp
pattern=\| (\S+) \| [^|]* \| Login failure$
desc=failures of $1
action=write - alert $1
window=60
thresh=5
S

# ---- the programs: each prints one number, which is checked
one="--no-builtin --rules $here/benches/rules/brute.ron"
# What tripline found stands in its summary: "bench-brute-force   500 alerts   3,961 findings".
tripline_findings() { "$tripline" replay --output ndjson $one "$@" 2>&1 >/dev/null | sed -n 's/.* \([0-9,]*\) findings$/\1/p' | tr -d ,; }
tripline_hits() { "$tripline" replay --no-builtin --output ndjson "$@" 2>&1 >/dev/null | sed -n 's/.*(.* unrecognised), \([0-9,]*\) hits.*/\1/p' | tr -d ,; }
run_tripline_ndjson() { tripline_findings ndjson.log; }
run_tripline_pipe() { tripline_findings pipe.log; }
run_rsigma() { rsigma/bin/rsigma engine eval -q -r brute.yml --timestamp-field time --no-detections --input-format json <ndjson.log | wc -l; }
run_duckdb() { python/bin/python brute.py ndjson.log; }
run_mawk() { mawk -f brute.awk pipe.log; }
run_sec() { sec -conf=brute.sec -input=pipe.log -fromstart -notail -nolog 2>/dev/null | grep -c '^alert' || true; }
run_tripline_10() { tripline_hits --rules rules-10.ron wide.log; }
run_tripline_3000() { tripline_hits --rules rules-3000.ron wide.log; }
run_rsigma_3000() { rsigma/bin/rsigma engine eval -q -r rules-3000.yml --input-format json <wide.log | wc -l; }
run_tripline_pack_1() { "$tripline" replay -q --threads 1 --output ndjson ndjson.log | sha256sum | tr -d ' -'; }
run_tripline_pack_2() { "$tripline" replay -q --threads 2 --output ndjson ndjson.log | sha256sum | tr -d ' -'; }

present() {
    case $1 in
    rsigma*) [[ -x rsigma/bin/rsigma ]] ;;
    duckdb) [[ -x python/bin/python ]] && python/bin/python -c 'import duckdb' 2>/dev/null ;;
    mawk | sec) command -v "$1" >/dev/null ;;
    *) true ;;
    esac && ! skipped "${1%%_*}"
}

declare -A times answers
names=()
for name in tripline_ndjson rsigma duckdb tripline_pipe mawk sec tripline_10 tripline_3000 rsigma_3000 tripline_pack_1 tripline_pack_2; do
    if present $name; then names+=($name); else say "$name: not here, left out"; fi
done
TIMEFORMAT='%R %U %S'
for round in $(seq 0 "$rounds"); do # the first warms the page cache and is not counted
    for name in "${names[@]}"; do
        { time run_$name >answer 2>errors; } 2>spent || say "$name: $(tail -1 errors)"
        answers[$name]=$(<answer)
        if ((round > 0)); then times[$name]+="$(<spent)"$'\n'; fi
    done
done

median() { printf '%s' "${times[$1]}" | awk -v column="$2" '{ print column == 1 ? $1 : $2 + $3 }' | sort -n | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'; }
declare -A expected=([tripline_ndjson]=$findings [tripline_pipe]=$findings [rsigma]=$findings [mawk]=$findings [duckdb]=$users)
[[ -n ${answers[rsigma_3000]:-} ]] && expected[tripline_3000]=${answers[rsigma_3000]}
expected[tripline_pack_2]=${answers[tripline_pack_1]}
printf '%-18s %8s %8s  %s\n' program wall_s cpu_s answer
for name in "${names[@]}"; do
    verdict=${answers[$name]:0:16}
    [[ -n ${expected[$name]:-} ]] && { [[ ${answers[$name]} == "${expected[$name]}" ]] && verdict+=" right" || verdict+=" WRONG, expected ${expected[$name]:0:16}"; }
    printf '%-18s %8s %8s  %s\n' $name "$(median $name 1)" "$(median $name 2)" "$verdict"
done
# By the clock on the wall and, where the machine had other work, more to be trusted: by time on a processor.
ratio() {
    [[ -n ${times[$2]:-} && -n ${times[$3]:-} ]] || return 0
    local column ratios=()
    for column in 1 2; do
        ratios+=("$(awk -v ours="$(median "$2" $column)" -v theirs="$(median "$3" $column)" 'BEGIN { printf "%.2f", (ours > 0 ? theirs / ours : 0) }')")
    done
    printf '%-60s %8s %8s\n' "$1" "${ratios[@]}"
}
echo
printf '%-60s %8s %8s\n' '' wall cpu
ratio 'one rule, NDJSON: times the rate of rsigma' tripline_ndjson rsigma
ratio 'one rule, NDJSON: times the rate of DuckDB, 1 thread' tripline_ndjson duckdb
ratio 'one rule, pipe: times the rate of mawk' tripline_pipe mawk
ratio 'one rule, pipe: times the rate of SEC' tripline_pipe sec
ratio '3000 rules, loading included: times rsigma' tripline_3000 rsigma_3000
ratio '3000 rules: times the rate of 10, loading included' tripline_3000 tripline_10
ratio 'whole pack: two threads, times the rate of one (see wall)' tripline_pack_2 tripline_pack_1
