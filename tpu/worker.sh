#!/usr/bin/env bash
# Runs main.py as one worker of a cluster: makes its TF_CONFIG, then becomes the program. The launchers of this folder
# start it on every machine; it is not meant to be called by hand. A cluster of one is no cluster: all GPUs of the
# machine are used by one process.
#
# usage: tpu/worker.sh --workers=HOST:PORT,... --index=N -- --flag=value ...
#        tpu/worker.sh --slurm --port=PORT -- --flag=value ...
#
#   --workers=HOST:PORT,...   all workers, in one order everywhere
#   --index=N                 which of them this is, from 0
#   --slurm                   workers and index are those of the Slurm job step
#   --port=PORT               with --slurm: the port all listen on (default 8470)
#   --python=PATH             interpreter (default .venv/bin/python)
#   --dry-run                 print the command and run nothing
#   --help                    this text
#   -- --flag=value ...       flags for main.py
set -euo pipefail

# shellcheck source=tpu/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

workers=
index=
slurm=false
port=8470
python=.venv/bin/python
take_option() {
  case $1 in
    --workers=?*) workers=${1#*=} ;;
    --index=?*) index=${1#*=} ;;
    --slurm) slurm=true ;;
    --port=?*) port=${1#*=} ;;
    --python=?*) python=${1#*=} ;;
    *) return 1 ;;
  esac
}
parse_options "$@"
if $slurm; then
  [[ -n ${SLURM_PROCID:-} && -n ${SLURM_STEP_NODELIST:-} ]] || fail "--slurm: not in a Slurm job step (srun)"
  index=$SLURM_PROCID
  names=$(scontrol show hostnames "$SLURM_STEP_NODELIST")
  workers=${names//$'\n'/:$port,}:$port
fi
[[ $workers =~ ^[^,:]+:[0-9]+(,[^,:]+:[0-9]+)*$ ]] || fail "--workers=$workers: accepted: HOST:PORT,HOST:PORT,..."
separators=${workers//[^,]/}
[[ $index =~ ^[0-9]+$ && $index -le ${#separators} ]] ||
  fail "--index=$index: accepted: 0 to ${#separators}, the places in --workers=$workers"

command=(env -u TF_CONFIG "$python" main.py --strategy=auto "${MORE[@]}")
if [[ -n $separators ]]; then
  # Behind all flags: a recipe may name a strategy for one machine, with which every node would train by itself.
  command=(env "TF_CONFIG=$(tf_config "$workers" "$index")" "$python" main.py "${MORE[@]}" --strategy=multiworker)
fi
$DRY_RUN || exec "${command[@]}"
run "${command[@]}"
