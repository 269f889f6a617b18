#!/usr/bin/env bash
# Runs a recipe on all GPUs of this machine, or of several machines that are reached by ssh (one process on each).
# When a worker is lost the others end too; all are started again and go on from the last checkpoint.
#
# usage: tpu/run_gpus.sh RECIPE [options] [-- --flag=value ...]
#
#   RECIPE                    a file of flags/ without its .flags
#   --hosts=HOST,HOST,...     machines, each with this clone and its .venv in the same folder (default: this one alone)
#   --folder=DIR              that folder (default: this clone's)
#   --port=PORT               on which the workers talk, open between them (default 8470)
#   --dataset=NAME            as main.py takes it (default: the recipe's)
#   --model_dir=DIR           run directory, on a disk that all machines share (default runs/RECIPE)
#   --restarts=N              how often all are started again (default 3)
#   --dry-run                 print the commands and run nothing
#   --help                    this text
#   -- --flag=value ...       more flags for main.py; they come after the recipe's, so they win
set -euo pipefail

# shellcheck source=tpu/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

hosts=
folder=$PWD
port=8470
dataset=
model_dir=
restarts=3
take_option() {
  case $1 in
    --hosts=?*) hosts=${1#*=} ;;
    --folder=?*) folder=${1#*=} ;;
    --port=?*) port=${1#*=} ;;
    --dataset=?*) dataset=${1#*=} ;;
    --model_dir=?*) model_dir=${1#*=} ;;
    --restarts=?*) restarts=${1#*=} ;;
    *) take_recipe "$@" ;;
  esac
}
parse_options "$@"
require_recipe
[[ -z $hosts || $hosts =~ ^[-a-zA-Z0-9_.@]+(,[-a-zA-Z0-9_.@]+)*$ ]] || fail "--hosts=$hosts: accepted: HOST,HOST,..."
[[ $port =~ ^[0-9]+$ ]] || fail "--port=$port: accepted: a number"
[[ $restarts =~ ^[0-9]+$ ]] || fail "--restarts=$restarts: accepted: a number"
[[ -z $hosts ]] || require_program ssh "install an ssh client"

flags=("--flagfile=flags/$RECIPE.flags" "--model_dir=${model_dir:-runs/$RECIPE}")
[[ -z $dataset ]] || flags+=("--dataset=$dataset")
flags+=(${MORE[@]+"${MORE[@]}"})
IFS=, read -r -a machines <<< "$hosts"
last=$((${#machines[@]} > 0 ? ${#machines[@]} - 1 : 0))
workers=
for machine in ${machines[@]+"${machines[@]}"}; do
  workers+="${workers:+,}${machine#*@}:$port"
done

# start INDEX: becomes one worker, so that a signal to this process reaches it.
start() {
  local command=(tpu/worker.sh "--workers=${workers:-localhost:$port}" "--index=$1" -- "${flags[@]}")
  if [[ -n $hosts ]]; then
    # With a terminal (-tt) the worker is hung up when the connection ends; words are quoted for the remote shell.
    command=(ssh -tt -o BatchMode=yes -o ServerAliveInterval=15 "${machines[$1]}" "cd $(quoted "$folder") && $(quoted "${command[@]}")")
  fi
  $DRY_RUN || exec "${command[@]}"
  run "${command[@]}"
}

# round: all workers once; the first failure ends the others, unless it is code 42: then all have saved, or are about
# to, and end by themselves. Its status is the first failure's, or 0.
round() {
  local pids=() index _ status=0
  for index in $(seq 0 "$last"); do
    start "$index" < /dev/null &
    pids+=($!)
  done
  trap 'kill -TERM "${pids[@]}" 2> /dev/null; wait; exit 143' INT TERM
  for _ in "${pids[@]}"; do
    wait -n || status=$?
    [[ $status -eq 0 ]] || break
  done
  [[ $status -eq 0 || $status -eq 42 ]] || kill -TERM "${pids[@]}" 2> /dev/null || true
  wait
  trap - INT TERM
  return "$status"
}

if $DRY_RUN; then
  for index in $(seq 0 "$last"); do start "$index"; done
  exit
fi
for attempt in $(seq 0 "$restarts"); do
  status=0
  round || status=$?
  # 0: done. 2: a mistake in the command, which stays one.
  if [[ $status -eq 0 || $status -eq 2 ]]; then exit "$status"; fi
  echo "a worker ended with code $status; $((restarts - attempt)) restarts left" >&2
done
exit "$status"
