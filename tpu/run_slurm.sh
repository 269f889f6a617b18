#!/usr/bin/env bash
# Submits a recipe as a Slurm job, one process on each node. Before the time limit and on preemption the run is told
# to save (it then ends with code 42), and the job is queued again.
#
# usage: tpu/run_slurm.sh RECIPE --nodes=N [options] [-- --flag=value ...]
#
#   RECIPE                    a file of flags/ without its .flags
#   --nodes=N                 nodes
#   --gpus=N                  GPUs of each (default 8)
#   --cpus=N                  processor cores of each (default 64)
#   --time=LIMIT              time limit of one allocation (default 24:00:00)
#   --partition=NAME          partition (default: the cluster's)
#   --port=PORT               on which the workers talk (default 8470)
#   --dataset=NAME            as main.py takes it (default: the recipe's)
#   --model_dir=DIR           run directory, on a disk that all nodes share (default runs/RECIPE); its log is DIR.log
#   --dry-run                 print the command and run nothing
#   --help                    this text
#   -- --flag=value ...       more flags for main.py; they come after the recipe's, so they win
set -euo pipefail

# shellcheck source=tpu/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

nodes=
gpus=8
cpus=64
limit=24:00:00
partition=()
port=8470
dataset=
model_dir=
take_option() {
  case $1 in
    --nodes=?*) nodes=${1#*=} ;;
    --gpus=?*) gpus=${1#*=} ;;
    --cpus=?*) cpus=${1#*=} ;;
    --time=?*) limit=${1#*=} ;;
    --partition=?*) partition=("$1") ;;
    --port=?*) port=${1#*=} ;;
    --dataset=?*) dataset=${1#*=} ;;
    --model_dir=?*) model_dir=${1#*=} ;;
    *) take_recipe "$@" ;;
  esac
}
parse_options "$@"
require_recipe
for number in "--nodes=$nodes" "--gpus=$gpus" "--cpus=$cpus" "--port=$port"; do
  [[ $number =~ =[1-9][0-9]*$ ]] || fail "$number: accepted: a positive number"
done
require_program sbatch "run this on a Slurm login node"

model_dir=${model_dir:-runs/$RECIPE}
flags=("--flagfile=flags/$RECIPE.flags" "--model_dir=$model_dir")
[[ -z $dataset ]] || flags+=("--dataset=$dataset")
flags+=(${MORE[@]+"${MORE[@]}"})
# The first to end must not end the others, which may still be writing the checkpoint; they get five minutes.
step="srun --kill-on-bad-exit=0 --wait=300 $(quoted tpu/worker.sh --slurm "--port=$port" -- "${flags[@]}")"
# Code 42: saved, and to be gone on with.
script="$step; code=\$?; if [ \$code -eq 42 ]; then scontrol requeue \$SLURM_JOB_ID; fi; exit \$code"

$DRY_RUN || mkdir -p "$(dirname "$model_dir")"
run sbatch --job-name="autonl-$RECIPE" --nodes="$nodes" --ntasks-per-node=1 --gpus-per-node="$gpus" \
  --cpus-per-task="$cpus" --time="$limit" --signal=TERM@300 --requeue --open-mode=append \
  --output="$model_dir.log" --chdir="$PWD" ${partition[@]+"${partition[@]}"} --wrap="$script"
