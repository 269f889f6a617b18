#!/bin/bash
# Times the TFLite files beside this script on an Android phone.
#
#   ./phone.sh BENCHMARK_MODEL [OUTPUT_DIR]
#
# BENCHMARK_MODEL is the TFLite benchmark binary for the phone (android_aarch64_benchmark_model). Environment:
# THREADS (1), WARMUP (5), RUNS (50), and adb's own ANDROID_SERIAL. Run it again to go on where it stopped; then
#   python main.py --mode=profile ... --benchmark_output=OUTPUT_DIR
# with the flags that made the files turns what it brought back into a latency table.
set -euo pipefail
if [ $# -lt 1 ] || [ ! -f "$1" ]; then
    echo "usage: $0 BENCHMARK_MODEL [OUTPUT_DIR]" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
output=${2:-$here/phone}
remote=/data/local/tmp/autonl_latency
threads=${THREADS:-1} warmup=${WARMUP:-5} runs=${RUNS:-50}
mkdir -p "$output"
settings="threads=$threads warmup=$warmup runs=$runs"
if [ -f "$output/settings.txt" ] && [ "$(cat "$output/settings.txt")" != "$settings" ]; then
    echo "$output was made with $(cat "$output/settings.txt"); choose another directory" >&2
    exit 2
fi
device=$(adb shell 'getprop ro.product.manufacturer; getprop ro.product.model; getprop ro.build.version.release' \
    </dev/null | tr -d '\r' | paste -sd ' ')
if [ -f "$output/device.txt" ] && [ "$(cat "$output/device.txt")" != "$device" ]; then
    echo "$output was made on $(cat "$output/device.txt"), this is $device; choose another directory" >&2
    exit 2
fi
adb shell mkdir -p "$remote" </dev/null
adb push "$1" "$remote/benchmark_model" </dev/null >/dev/null
adb shell chmod +x "$remote/benchmark_model" </dev/null
printf '%s\n' "$settings" >"$output/settings.txt"
printf '%s\n' "$device" >"$output/device.txt"
files=("$here"/files/*.tflite)
number=0
for file in "${files[@]}"; do
    number=$((number + 1))
    name=$(basename "$file" .tflite)
    result=$output/$name.txt
    if [ -s "$result" ]; then continue; fi
    printf '\r%d of %d: %s\033[K' "$number" "${#files[@]}" "$name" >&2
    adb push "$file" "$remote/model.tflite" </dev/null >/dev/null
    adb shell "$remote/benchmark_model" "--graph=$remote/model.tflite" "--num_threads=$threads" --use_xnnpack=true \
        "--warmup_runs=$warmup" "--num_runs=$runs" </dev/null >"$result.part" 2>&1 || true
    # Kept only with statistics behind those of the warm-up: what is kept is not measured again. (An old adb says 0
    # whatever the program did.)
    if [ "$(grep -c 'count=[0-9]' "$result.part")" -le $((warmup > 0)) ]; then
        printf '\nno statistics of %s; benchmark_model said (%s):\n' "$name" "$result.part" >&2
        tail -n 5 "$result.part" >&2
        exit 1
    fi
    mv "$result.part" "$result"
done
printf '\ndone: %s\n' "$output" >&2
